"""Checkpoints: tensors and plain Python in one file, written atomically and read with weights_only."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from comp.errors import UserError
from comp.files import write_atomic

CHECKPOINT_SCHEMA = 1


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain Python atomically.

    They are serialised in memory first, so that a full disk leaves the old file as it was.
    """
    import torch

    buffer = io.BytesIO()
    torch.save({"kit": "comp", "schema": CHECKPOINT_SCHEMA, **content}, buffer)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a file of `save_checkpoint` to the CPU. Any other file is a UserError, and no code in it is run."""
    import torch  # not above: commands that read only JSON files would wait for it

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except Exception:  # anything that pickle, zip or torch raise for a broken file
        content = None
    if not isinstance(content, dict) or content.get("kit") != "comp" or content.get("schema") != CHECKPOINT_SCHEMA:
        raise UserError(
            f"{path} is truncated or not a checkpoint of this kit; restore it, or delete it and train the fold again"
        )
    return content
