"""The image cache: every image decoded once, as a uint8 square in a file; rebuilt when an image changes.

runs/.cache/<dataset>-<key>/images.npy, cache.json       the squares; their length and hash, written last
runs/.cache/files-*.json                                 the index of file_hashes.py
runs/.cache/stats-<dataset>.npz                          what `data check` and `folds` know of each image
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from filelock import FileLock

from comp.data.file_hashes import content_hash, hash_files
from comp.data.images import SquareSpec, UnreadableImageError, longest_side, read_image
from comp.data.scan import Dataset, Image
from comp.errors import UserError
from comp.files import open_file
from comp.progress_bar import progress_bar
from comp.records.dataset import CacheRecord

CACHE = Path("runs/.cache")
WORKING_SIZE = 256  # side to which larger images are reduced: 0.1 ms to read and resize, against 3 ms to decode
RECORD = "cache.json"
HEADER_BYTES = 128  # of a .npy file; numpy pads to a multiple of 64
BLOCK_IMAGES = 256  # images decoded before they are written


def stats_file(dataset: Dataset) -> Path:
    """Return the file of the statistics of a dataset's images."""
    return CACHE / f"stats-{dataset.name}.npz"


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
    def key(self) -> str:
        """The `cache_key` of its images, with which its folder's name ends."""
        return self.file.parent.name.rpartition("-")[2]

    @property
    def nbytes(self) -> int:
        """The size of all squares in bytes."""
        return self.count * self.side * self.side * 3

    def __getitem__(self, row: int) -> np.ndarray:
        size = self.side * self.side * 3
        pixels = np.fromfile(self.file, np.uint8, size, offset=HEADER_BYTES + int(row) * size)
        if len(pixels) != size:
            raise UserError(f"{self.file} ends before image {row}; run the same command again, to decode the images")
        return pixels.reshape(self.side, self.side, 3)

    def find_damage(self, with_content: bool = False) -> str:
        """Return how the file differs from what was written, or "" for an intact one.

        The length and the header are compared, and with `with_content` the hash of all bytes (0.05 s for 600 MB in
        memory, else as long as the disk takes).
        """
        try:
            record = CacheRecord.read(self.file.with_name(RECORD))
            with open_file(self.file) as file:
                header = file.read(HEADER_BYTES)
                length = os.fstat(file.fileno()).st_size
        except (UserError, OSError):
            return "it has no record of its length" if self.file.is_file() else "it is no file"
        expected = HEADER_BYTES + self.nbytes
        if length != expected or record.bytes != expected:
            return f"it has {length} bytes, not {expected}"
        if header != _header(self.count, self.side):
            return "its header is of other images"
        if with_content and content_hash(self.file) != record.xxh3_128:
            return "its content is not what was written"
        return ""


@dataclass(frozen=True)
class JoinedCaches:
    """Two caches of squares of one side as one: the rows of the first, then those of the second."""

    first: Cache
    second: Cache

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    @property
    def side(self) -> int:
        return self.first.side

    @property
    def key(self) -> str:
        """The keys of both caches."""
        return f"{self.first.key} {self.second.key}"

    @property
    def nbytes(self) -> int:
        """The size of all squares in bytes."""
        return self.first.nbytes + self.second.nbytes

    def __getitem__(self, row: int) -> np.ndarray:
        return self.first[row] if row < len(self.first) else self.second[row - len(self.first)]


Squares = Cache | JoinedCaches


def load_cache(dataset: str, images: Sequence[Image], square_spec: SquareSpec) -> Cache:
    """Return the cache whose row i is the square of images[i]. One process builds a missing cache, under a lock."""
    folder = CACHE / f"{dataset}-{cache_key(images, square_spec)}"
    cache = Cache(folder / "images.npy", len(images), square_spec.size)
    if cache.find_damage():
        CACHE.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if damage := cache.find_damage():  # another process may have made it while this one waited
                if cache.file.exists():
                    print(f"{cache.file}: {damage}; decoding the images again", file=sys.stderr)
                _build(folder, images, square_spec)
    return cache


def verify_cache(dataset: Dataset) -> None:
    """Hash all image files and all caches of a dataset in full; a file that changed unnoticed is read again.

    Caches whose content is not what was written are deleted, and built again when they are needed.
    """
    for images in (dataset.train, dataset.test):
        indexed = hash_files(images, CACHE)
        changed = [
            image
            for image, old, new in zip(images, indexed, hash_files(images, CACHE, use_index=False), strict=True)
            if old != new
        ]
        if changed:
            print(f"{len(changed)} image files changed unnoticed, such as {changed[0].path}", file=sys.stderr)
    folders = [path for path in CACHE.glob(f"{glob.escape(dataset.name)}-*") if path.is_dir()]
    damaged = [folder for folder in folders if _is_damaged(folder)]
    for folder in damaged:
        print(
            f"{folder}: its content is not what was written, so it is made again; what it was used for may be wrong",
            file=sys.stderr,
        )
        shutil.rmtree(folder, ignore_errors=True)
    print(f"verified {len(dataset.train + dataset.test)} image files and {len(folders)} caches, {len(damaged)} damaged")


def _is_damaged(folder: Path) -> bool:
    try:
        record = CacheRecord.read(folder / RECORD)
        return content_hash(folder / "images.npy") != record.xxh3_128
    except (UserError, OSError):
        return True


def cache_key(images: Sequence[Image], square_spec: SquareSpec) -> str:
    """Return a hash that changes with the list, times and content of the files, and with the squares."""
    hashes = hash_files(images, CACHE)
    files = [[image.id, image.path.stat().st_mtime_ns, sha] for image, sha in zip(images, hashes, strict=True)]
    return _key(files, square_spec, 16)


def stat_key(images: Sequence[Image], square_spec: SquareSpec) -> str:
    """Return the key that versions up to 0.3 recorded beside predictions: of the sizes and times of the files."""
    rules = [[sha.partition("+")[2]] if "+" in sha else [] for sha in hash_files(images, CACHE)]
    files = [
        [image.id, (stat := image.path.stat()).st_size, stat.st_mtime_ns, *rule]
        for image, rule in zip(images, rules, strict=True)
    ]
    return _key(files, square_spec, 12)


def _key(files: list, square_spec: SquareSpec, digits: int) -> str:
    geometry = {"size": square_spec.size, "fit": square_spec.fit, "crop": square_spec.crop}
    return hashlib.sha256(json.dumps([files, geometry]).encode()).hexdigest()[:digits]


def _header(count: int, side: int) -> bytes:
    """Return the header of a .npy file of squares."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}
    )
    return stream.getvalue()


def _build(folder: Path, images: Sequence[Image], square_spec: SquareSpec) -> None:
    """Decode all images into a temporary folder, and rename it to `folder` when it is complete."""
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    digest = xxhash.xxh3_128(header := _header(len(images), square_spec.size))
    try:
        # Written in order and not through a memory map, so that a full disk is an error and not a SIGBUS.
        with (
            open(temporary / "images.npy", "wb") as file,
            ThreadPoolExecutor() as executor,
            progress_bar(total=len(images), desc="decoding once", unit="img") as bar,
        ):
            file.write(header)
            for start in range(0, len(images), BLOCK_IMAGES):  # a single map() would hold all squares in memory
                block = images[start : start + BLOCK_IMAGES]
                for square in executor.map(lambda image: decode(image, square_spec), block):
                    pixels = np.ascontiguousarray(square).data
                    file.write(pixels)
                    digest.update(pixels)
                    bar.update()
            file.flush()
            os.fsync(file.fileno())
            length = file.tell()
        CacheRecord(length, digest.hexdigest()).write(temporary / RECORD)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
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
