"""A hash of the content of each image file; only files that changed since the last call are read again.

An index below runs/.cache/ keeps each hash with the size, both times and the inode of its file. The time of change
(ctime) cannot be set: a file that was replaced by one of equal size and modification time is read again. The inode and
the time of change decide only whether a file is read. They are in no cache key, so a copy that keeps the modification
times (cp -p, rsync -t) is the same dataset.

4,200 blood cells (105 MB): 0.16 s to read all files, 0.03 s with the index.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import xxhash

from comp.data.image_values import CONVERSION
from comp.data.images import conversion
from comp.data.scan import Image
from comp.errors import UserError
from comp.files import open_file, write_json
from comp.records.dataset import FileIndex

# A file may change twice within one tick of its clock, 4 ms on ext4 and 2 s on FAT: younger files are read again.
MIN_AGE_NS = 2_000_000_000

Signature = tuple[int, int, int, int]  # size, modification time, time of change, inode


def hash_files(images: Sequence[Image], folder: Path, use_index: bool = True) -> list[str]:
    """Return the hash of each file, and behind a plus sign the rule by which values of more than 8 bits become 8 bits.

    The index is in `folder`; without `use_index` every file is read.
    """
    paths = "\n".join([os.getcwd(), *(str(image.path) for image in images)])
    index = folder / f"files-{hashlib.sha256(paths.encode()).hexdigest()[:12]}.json"
    known = dict(_read_index(index, len(images)) if use_index else ())
    now, hashes, entries = time.time_ns(), [], []
    for row, image in enumerate(images):
        signature = file_signature(image.path)
        sha = known[row][1] if row in known and known[row][0] == signature else _image_hash(image.path)
        hashes.append(sha)
        entries.append((*signature, sha) if is_settled(signature, now) else None)
    if entries != [(*known[row][0], known[row][1]) if row in known else None for row in range(len(images))]:
        with contextlib.suppress(OSError):  # without an index the files are read again
            write_json(index, FileIndex(tuple(entries), CONVERSION).to_dict())
    return hashes


def content_hash(path: Path) -> str:
    """Return the 128-bit xxHash of a file's bytes, in hexadecimal."""
    with open_file(path) as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def _image_hash(path: Path) -> str:
    return "+".join(filter(None, (content_hash(path), conversion(path))))


def file_signature(path: Path) -> Signature:
    """Return what changes when a file is replaced or written to."""
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def is_settled(signature: Signature, now: int) -> bool:
    """Return whether a file was so old at the time `now`, in nanoseconds, that a change shows in its times."""
    return max(signature[1:3]) < now - MIN_AGE_NS


def _read_index(index: Path, count: int) -> list[tuple[int, tuple[Signature, str]]]:
    """Return (row, (signature, hash)) of each file that the index knows; nothing if it cannot be read."""
    try:
        record = FileIndex.read(index)
    except UserError:
        return []
    is_current = len(record.files) == count and record.conversion == CONVERSION
    rows = enumerate(record.files) if is_current else ()
    return [(row, ((entry[0], entry[1], entry[2], entry[3]), entry[4])) for row, entry in rows if entry]
