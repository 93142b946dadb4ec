"""Every image decoded once: squares of uint8 in a file that is memory-mapped, rebuilt when a source changes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from comp.data.images import SquareSpec, UnreadableImageError, longest_side, read_image
from comp.data.scan import Image
from comp.errors import UserError

CACHE = Path("runs/.cache")
WORKING_SIZE = 256  # the side kept of larger pictures: 0.1 ms to read and resize, 3 ms to decode


def make_square_spec(images: Sequence[Image], size: int, fit: str, crop: int | None) -> SquareSpec:
    """The square to keep of a dataset whose training images these are. It is never larger than the pictures are (a
    few of them are asked): 64 px blown up to 256 and shrunk again would not be the same 64 px."""
    some = images[:: max(1, len(images) // 16)]
    there = max(min(longest_side(image.path), crop or WORKING_SIZE) for image in some)
    return SquareSpec(max(min(WORKING_SIZE, there), size), fit, crop)


@dataclass(frozen=True)
class Cache:
    """An array (count, side, side, 3) of uint8 on disk, which numpy.load(file, mmap_mode="r") opens as a whole. Rows
    are read one by one: the pages of one big map would count as this process's memory and grow with the images."""

    file: Path
    count: int
    side: int

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        return self.count * self.side * self.side * 3

    def __getitem__(self, row: int) -> np.ndarray:
        size = self.side * self.side * 3
        header = self.file.stat().st_size - self.count * size
        return np.fromfile(self.file, np.uint8, size, offset=header + int(row) * size).reshape(self.side, self.side, 3)


def load_cache(dataset: str, images: Sequence[Image], square: SquareSpec) -> Cache:
    """Row i = images[i]. Built when it is not there, under a lock, by one process."""
    folder = CACHE / f"{dataset}-{cache_key(images, square)}"
    file = folder / "images.npy"
    if not file.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not file.is_file():  # another process may have built it while this one waited
                _build(folder, images, square)
    return Cache(file, len(images), square.size)


def cache_key(images: Sequence[Image], square: SquareSpec) -> str:
    """Changes when a file is added, removed, changed or touched, and with the geometry."""
    facts = [[image.id, (stat := image.path.stat()).st_size, stat.st_mtime_ns] for image in images]
    return hashlib.sha256(json.dumps([facts, vars(square)]).encode()).hexdigest()[:12]


def _build(folder: Path, images: Sequence[Image], square: SquareSpec) -> None:
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        # written in order, not through a memory map: a full disk is then an error and not a SIGBUS
        with (
            open(part / "images.npy", "wb") as file,
            ThreadPoolExecutor() as pool,
            tqdm(total=len(images), desc="decoding once", unit="img", disable=None, leave=False) as bar,
        ):
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (len(images), square.size, square.size, 3)}
            )
            for start in range(0, len(images), 256):  # map() alone would hold every picture not yet written
                for pixels in pool.map(lambda image: decode(image, square), images[start : start + 256]):
                    file.write(np.ascontiguousarray(pixels).data)
                    bar.update()
            file.flush()
            os.fsync(file.fileno())
        part.rename(folder)
    except OSError as problem:  # a full disk, say
        raise OSError(problem.errno, problem.strerror, str(folder)) from problem
    finally:
        shutil.rmtree(part, ignore_errors=True)


def decode(image: Image, square: SquareSpec) -> np.ndarray:
    try:
        return square(read_image(image.path))
    except UnreadableImageError as problem:
        raise UserError(
            f"cannot read the image {image.path}: {problem}; replace or remove it "
            f"(python -m comp data check lists all such files)"
        ) from None
