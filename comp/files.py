"""Files that outlive a process: read within limits, with errors that name them, and written atomically.

Everything but images, arrays and archives is read here. A path may name a pipe or a device, which would hang or never
end, or a file that would fill the memory: each is a UserError of one line, as is every other obstacle.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any

from comp.errors import UserError, shorten

MAX_TEXT_BYTES = 2**28  # 256 MiB; a JSON submission of a million images has 40 MB
MAX_JSON_DEPTH = 50  # no record needs more than 6
MAX_INT = 2**63 - 1  # of a file; beyond it numpy and torch overflow
OBSTACLES = {
    errno.ENOTDIR: "a part of its path is not a folder",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ELOOP: "it is a link to itself",
    errno.EACCES: "you may not read it",
    errno.EPERM: "you may not read it",
}


class MissingFileError(UserError):
    """There is no file of that name."""


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file of `content`. See `open_atomic`."""
    with open_atomic(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[BufferedWriter]:
    """Write beside `path`, flush to the disk, rename: a reader sees the old file or the new one, never a part.

    What killed writers of `path` left beside it is removed. An error in the block leaves the old file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = None
    try:
        with _open_temporary(path) as file:
            temporary = file.name
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)  # before the lock is released, so that no other writer removes it
    except OSError as error:  # a full disk: the error names the file that was requested, not the temporary one
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            if temporary:
                os.unlink(temporary)


def _open_temporary(path: Path) -> BufferedWriter:
    """Open a new file beside `path`, locked while it is open: the system unlocks it when its writer dies."""
    while True:
        file = open(path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"), "xb")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another writer is removing it
            pass
        except OSError:  # a file system without locks, where no leftover is removed either
            return file
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another writer took it for a leftover, in the moment before it was locked


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `path` that no living writer has locked."""
    prefix = f".{path.name}."
    with contextlib.suppress(OSError):
        for name in os.listdir(path.parent):
            if name.startswith(prefix) and name.endswith(".tmp"):
                with contextlib.suppress(OSError), open(path.with_name(name), "r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.with_name(name).unlink()


def write_json(path: Path, content: object) -> None:
    """Write plain Python as indented JSON. A character that UTF-8 lacks, from a broken file name, becomes `?`."""
    write_atomic(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(errors="replace"))


def file_exists(path: Path) -> bool:
    """Return whether `path` is a regular file; a UserError where another thing has its name, or where none can be."""
    try:
        check_regular(path)
    except MissingFileError:
        return False
    return True


def check_regular(path: Path, max_bytes: int | None = None) -> None:
    """Raise a UserError unless `path` is a regular file, or a link to one, of at most `max_bytes`."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path} is a folder, and a file is needed; name a file, or move the folder away")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is a pipe, a socket or a device, and a file is needed; replace it by a regular file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise UserError(f"{path} has {status.st_size:,} bytes, more than the {max_bytes:,} that are read; shorten it")


def open_file(path: Path, max_bytes: int | None = None) -> BufferedReader:
    """Open a regular file of at most `max_bytes`; a UserError otherwise, a MissingFileError where nothing is."""
    check_regular(path, max_bytes)
    try:
        return open(path, "rb")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def read_bytes(path: Path, max_bytes: int | None = MAX_TEXT_BYTES) -> bytes:
    """Return the content of a regular file of at most `max_bytes`."""
    with open_file(path, max_bytes) as file:
        try:
            return file.read(max_bytes)
        except OSError as error:
            raise _unreadable(path, error) from None


def read_text(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the text of a UTF-8 file, without a byte order mark."""
    try:
        return read_bytes(path, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; restore it, or save it as UTF-8") from None


def _unreadable(path: Path, error: OSError | ValueError) -> UserError:
    """Return the error for a path that cannot be opened, or that is no path at all (a ValueError: NUL in it)."""
    if isinstance(error, FileNotFoundError):
        return MissingFileError(f"{path} is missing; restore it, or name another file")
    name = shorten(path, 200)
    if isinstance(error, OSError):
        reason = OBSTACLES.get(error.errno or 0, error.strerror)
        return UserError(f"{name} cannot be read: {reason}; fix that, or name another file")
    return UserError(f"{name!r} cannot be a path: it has a character that no file name can have; remove it")


def read_json(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> Any:
    """Return the content of a JSON file of at most `max_bytes` as plain Python."""
    text = read_text(path, max_bytes)
    try:
        content = parse_json(text)
    except ValueError as error:
        reason = "" if isinstance(error, json.JSONDecodeError) else f": {error}"
        raise UserError(f"{path} is not readable JSON{reason}; restore it or delete it") from None
    if _is_deeper(content, MAX_JSON_DEPTH):
        raise UserError(f"{path} is nested deeper than {MAX_JSON_DEPTH} levels; restore it or delete it")
    return content


def parse_json(text: str, make_object: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return the value of a JSON text, or raise a ValueError. Numbers are finite and fit into 64 bits, as in JSON.

    `make_object` makes an object of its pairs of key and value: by default a dict, whose keys are distinct.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=make_object or _unique_keys,
            parse_constant=finite_float,
            parse_float=finite_float,
            parse_int=bounded_int,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"it has the key {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return content


def finite_float(text: str) -> float:
    """Return a number of a file; NaN, Infinity and 1e999 are a ValueError."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it has the number {shorten(text)}")
    return number


def bounded_int(text: str) -> int:
    """Return an integer of a file; one beyond 64 bits is a ValueError, as are thousands of digits in Python."""
    if len(text) > 20 or abs(number := int(text)) > MAX_INT:
        raise ValueError(f"it has the number {shorten(text)}, beyond 64 bits")
    return number


def _is_deeper(content: object, levels: int) -> bool:
    """Return whether lists and maps are nested deeper than `levels`; not recursive, and so safe for any depth."""
    nested: list[Any] = [content]
    for _ in range(levels):
        nested = [
            value
            for item in nested
            if isinstance(item, dict | list)
            for value in (item.values() if isinstance(item, dict) else item)
        ]
    return any(isinstance(item, dict | list) for item in nested)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
