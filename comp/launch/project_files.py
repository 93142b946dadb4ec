"""The files that a training reads, and a copy of them on a machine without a shared disk.

A file is compared by size and modification time, as by rsync, and one that is copied also by its hash. The image cache
then has the same key as at home: it hashes names, times and contents.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from comp.data.cache import CACHE
from comp.data.dataset import Dataset
from comp.data.file_hashes import content_hash, hash_files
from comp.data.labels import is_pattern
from comp.data.relabel import corrections_file
from comp.data.scan import CLASS_MAP
from comp.errors import UserError
from comp.records.base import Fold
from comp.runs import find_runs
from comp.schema import Config

BLOCK_BYTES = 2**24  # 16 MiB travel at a time, whatever the sizes of the files


@dataclass(frozen=True)
class ProjectFile:
    """A file that a training reads, by its path from the current directory."""

    path: Path
    size: int
    modified: int  # in nanoseconds
    xxh3_128: str


@dataclass(frozen=True)
class Piece:
    """Bytes of a file."""

    file: ProjectFile
    offset: int
    length: int

    def read(self) -> bytes:
        with open(self.file.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


def list_project_files(config: Config, dataset: Dataset, folds: Sequence[Fold]) -> list[ProjectFile]:
    """Return the files that the training of `folds` reads, but for those of its own run."""
    _check_inside(Path(config.data.root))
    images = [*dataset.train, *(dataset.test if config.teacher.test_images else ())]
    files = [(image.path, sha.partition("+")[0]) for image, sha in zip(images, hash_files(images, CACHE), strict=True)]
    files += [(path, content_hash(path)) for path in _small_files(config, folds)]
    return [ProjectFile(path, (stat := path.stat()).st_size, stat.st_mtime_ns, sha) for path, sha in files]


def _small_files(config: Config, folds: Sequence[Fold]) -> Iterator[Path]:
    """Yield the files that exist of those that a training reads beside its images."""
    root, labels, own_metric = Path(config.data.root), config.data.labels, config.train.metric.rpartition(".py:")[0]
    paths = [root / CLASS_MAP, corrections_file(root), config.folds_file, config.folds_file.with_suffix(".json")]
    if labels is not None and not is_pattern(labels):
        paths.append(root / labels)
    if own_metric:
        paths.append(Path(f"{own_metric}.py"))
    if config.model.weights:
        paths.append(Path(config.model.weights))
    for run in find_runs([*config.teacher.runs, *filter(None, [config.train.init])]):
        paths += [run.path / "run.json", run.path / "config.yaml"]
        paths += [run.fold_dir(fold).path / name for fold in folds for name in ("fold.json", "weights.pt")]
    for path in paths:
        _check_inside(path)
        if path.is_file():
            yield path


def _check_inside(path: Path) -> None:
    """Refuse a path that no folder on another machine can have."""
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{path} is not below this folder; link it (ln -s {path} input/), and name the link")


def update_copy(
    files: Sequence[ProjectFile], root: Path, copy: Path, read: Callable[[list[Piece]], list[bytes]]
) -> None:
    """Make `copy` hold `files`, reading only those that it lacks, and nothing else below `root`, the dataset's."""
    missing = [file for file in files if not _is_copied(file, copy / file.path)]
    for block in _blocks(missing):
        for piece, content in zip(block, read(block), strict=True):
            _write(piece, content, copy / piece.file.path)
    expected = {copy / file.path for file in files}
    for path in [*(copy / root).rglob("*"), copy / corrections_file(root)]:
        if path.is_file() and path not in expected:
            path.unlink()


def _is_copied(file: ProjectFile, path: Path) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return (status.st_size, status.st_mtime_ns) == (file.size, file.modified)


def _blocks(files: Sequence[ProjectFile]) -> Iterator[list[Piece]]:
    """Yield the pieces of all files in order, in lists of BLOCK_BYTES or less."""
    block: list[Piece] = []
    size = 0
    for file in files:
        for offset in range(0, max(1, file.size), BLOCK_BYTES):
            piece = Piece(file, offset, min(BLOCK_BYTES, file.size - offset))
            if size + piece.length > BLOCK_BYTES:
                yield block
                block, size = [], 0
            block.append(piece)
            size += piece.length
    if block:
        yield block


def _write(piece: Piece, content: bytes, path: Path) -> None:
    """Write a piece; the last one completes the file, which then gets its name and its time."""
    partial = path.with_name(f".{path.name}.part")
    if piece.offset == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
    with open(partial, "ab" if piece.offset else "wb") as file:
        file.write(content)
    if piece.offset + piece.length == piece.file.size:
        if content_hash(partial) != piece.file.xxh3_128:
            raise UserError(f"{piece.file.path} changed while it was copied; run the same command again")
        os.utime(partial, ns=(piece.file.modified, piece.file.modified))
        partial.rename(path)
