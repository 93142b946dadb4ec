"""Atomic writing, JSON and hashes: the files that outlive a process."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from comp.errors import UserError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write beside `path`, flush to the disk, rename: a reader sees the old file or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(part, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as problem:  # a full disk names the file that was wanted, not the temporary one
        raise OSError(problem.errno, problem.strerror, str(path)) from problem
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except ValueError:
        raise UserError(f"{path} is not readable JSON; restore it or delete it") from None


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
