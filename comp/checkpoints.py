"""Checkpoints: tensors and plain Python in one file, written atomically and read with weights_only."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from comp.errors import UserError
from comp.files import MAX_INT, open_file, write_atomic

if TYPE_CHECKING:
    import torch
    from torch import nn

CHECKPOINT_SCHEMA = 1


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain Python atomically.

    They are serialised in memory first, so that a full disk leaves the old file as it was.
    """
    import torch

    buffer = io.BytesIO()
    torch.save({"kit": "comp", "schema": CHECKPOINT_SCHEMA, **content}, buffer)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path, raw: bytes | None = None) -> dict[str, Any]:
    """Load a file of `save_checkpoint` to the CPU. Any other file is a UserError, and no code in it is run.

    `raw` is what was already read from `path`, for a caller that has checked these very bytes.
    """
    content: Any = None
    with open_file(path) if raw is None else io.BytesIO(raw) as file:
        if is_plain_archive(file):
            import torch  # not above: commands that read only JSON files would wait for it

            with warnings.catch_warnings(action="ignore"), contextlib.suppress(Exception):
                # anything that pickle, zip or torch raise for a broken file
                content = torch.load(path if raw is None else io.BytesIO(raw), map_location="cpu", weights_only=True)
    schema = content.get("schema") if isinstance(content, dict) and content.get("kit") == "comp" else None
    if type(schema) is not int or schema != CHECKPOINT_SCHEMA:  # a tensor cannot be compared
        raise UserError(
            f"{path} is truncated or not a checkpoint of this kit; restore it, or delete it and train the fold again"
        )
    return content


def is_plain_archive(file: io.BufferedIOBase) -> bool:
    """Return whether a file is an archive without compression, as `torch.save` writes it.

    torch would also read other files, in which few bytes can claim any amount of memory.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, OverflowError, struct.error):
        return False


@dataclass(frozen=True)
class CheckpointValues:
    """The values of a checkpoint, or of a map in it, each checked when it is taken out."""

    ADVICE: ClassVar[str] = "restore it, or delete it and train the fold again"

    content: dict[str, Any]
    source: Path

    def get(self, key: str, is_valid: Callable[[Any], bool]) -> Any:
        """Return a value; one that is missing or not valid is a UserError that names it."""
        if key not in self.content or not is_valid(self.content[key]):
            raise self.error(key)
        return self.content[key]

    def error(self, key: str) -> UserError:
        fault = "a wrong" if key in self.content else "no"
        return UserError(f"{self.source} has {fault} `{key}`; {self.ADVICE}")


def is_map(content: object) -> bool:
    """Return whether this is a map whose keys are text."""
    return isinstance(content, dict) and all(isinstance(key, str) for key in content)


def is_number(content: object) -> bool:
    """Return whether this is a number; a loss may be NaN."""
    return type(content) in (int, float)


def is_count(content: object) -> bool:
    return type(content) is int and 0 <= content <= MAX_INT


def is_state_dict(content: object) -> bool:
    """Return whether this maps names to plain tensors on the CPU."""
    return is_map(content) and all(map(_is_plain_tensor, cast(dict, content).values()))


def is_table(content: object) -> bool:
    """Return whether this is a tensor of real numbers in rows and columns."""
    if not _is_plain_tensor(content):
        return False
    table = cast("torch.Tensor", content)
    return table.ndim == 2 and table.is_floating_point()


def _is_plain_tensor(content: object) -> bool:
    """Return whether this is a tensor with values: torch.load also makes sparse, quantized and meta tensors."""
    import torch

    return (
        isinstance(content, torch.Tensor)
        and content.layout == torch.strided
        and content.device.type == "cpu"
        and not content.is_quantized
    )


def load_state_dict(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load the weights of a checkpoint into a model; a RuntimeError unless names, shapes and types are the same.

    torch alone would convert types, and so round weights of another type in silence.
    """
    types = {name: value.dtype for name, value in model.state_dict().items()}
    for name, value in weights.items():
        if types.get(name, value.dtype) != value.dtype:
            raise RuntimeError(f"{name} is of type {value.dtype}, not {types[name]}")
    model.load_state_dict(weights)
