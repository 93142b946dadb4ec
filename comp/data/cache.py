"""The image cache: every image decoded once, as a uint8 square in a file; rebuilt when an image changes."""

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
WORKING_SIZE = 256  # side to which larger images are reduced: 0.1 ms to read and resize, against 3 ms to decode
BLOCK_IMAGES = 256  # images decoded before they are written


def make_square_spec(images: Sequence[Image], size: int, fit: str, crop: int | None) -> SquareSpec:
    """Return the squares to cache for a dataset with these training images and a model of `size` pixels.

    The squares are no larger than the images, as far as a sample of 16 or more of them shows: 64 px enlarged to 256
    and reduced again would not be the same 64 px.
    """
    sample = images[:: max(1, len(images) // 16)]
    max_side = max(min(longest_side(image.path), crop or WORKING_SIZE) for image in sample)
    return SquareSpec(max(min(WORKING_SIZE, max_side), size), fit, crop)


@dataclass(frozen=True)
class Cache:
    """An array (count, side, side, 3) of uint8 on disk, in a .npy file.

    Rows are read one by one. The pages of a memory map would count as memory of this process and grow with the
    number of images.
    """

    file: Path
    count: int
    side: int

    def __len__(self) -> int:
        return self.count

    @property
    def nbytes(self) -> int:
        """The size of all squares in bytes."""
        return self.count * self.side * self.side * 3

    def __getitem__(self, row: int) -> np.ndarray:
        size = self.side * self.side * 3
        header = self.file.stat().st_size - self.count * size
        return np.fromfile(self.file, np.uint8, size, offset=header + int(row) * size).reshape(self.side, self.side, 3)


def load_cache(dataset: str, images: Sequence[Image], square_spec: SquareSpec) -> Cache:
    """Return the cache whose row i is the square of images[i]. One process builds a missing cache, under a lock."""
    folder = CACHE / f"{dataset}-{cache_key(images, square_spec)}"
    file = folder / "images.npy"
    if not file.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not file.is_file():  # another process may have made it while this one waited
                _build(folder, images, square_spec)
    return Cache(file, len(images), square_spec.size)


def cache_key(images: Sequence[Image], square_spec: SquareSpec) -> str:
    """Return a hash that changes with the list, size or time of the files, and with the squares."""
    files = [[image.id, (stat := image.path.stat()).st_size, stat.st_mtime_ns] for image in images]
    geometry = {"size": square_spec.size, "fit": square_spec.fit, "crop": square_spec.crop}
    return hashlib.sha256(json.dumps([files, geometry]).encode()).hexdigest()[:12]


def _build(folder: Path, images: Sequence[Image], square_spec: SquareSpec) -> None:
    """Decode all images into a temporary folder, and rename it to `folder` when it is complete."""
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(images), square_spec.size, square_spec.size, 3)}
    try:
        # Written in order and not through a memory map, so that a full disk is an error and not a SIGBUS.
        with (
            open(temporary / "images.npy", "wb") as file,
            ThreadPoolExecutor() as executor,
            tqdm(total=len(images), desc="decoding once", unit="img", disable=None, leave=False) as bar,
        ):
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(images), BLOCK_IMAGES):  # a single map() would hold all squares in memory
                block = images[start : start + BLOCK_IMAGES]
                for square in executor.map(lambda image: decode(image, square_spec), block):
                    file.write(np.ascontiguousarray(square).data)
                    bar.update()
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder)
    except OSError as error:  # a full disk, for example
        raise OSError(error.errno, error.strerror, str(folder)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def decode(image: Image, square_spec: SquareSpec) -> np.ndarray:
    """Return the square of an image file; a UserError names a file that cannot be read."""
    try:
        return square_spec(read_image(image.path))
    except UnreadableImageError as error:
        raise UserError(
            f"cannot read the image {image.path}: {error}; replace or remove it "
            f"(python -m comp data check lists all such files)"
        ) from None
