"""The image files that a person names, read ahead of their prediction."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from comp.data.image_files import images_below
from comp.data.images import UnreadableImageError, read_image
from comp.errors import UserError
from comp.progress_bar import progress_bar

THREADS = 2  # decoding releases Python's lock, and the prediction needs the other cores


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Return the images of files, folders and patterns, each once, in the order given; folders in natural order."""
    paths: dict[Path, None] = {}
    for text in arguments:
        path = Path(text)
        if path.is_dir():
            matches = images_below(path)
        elif path.exists():
            matches = [path]
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True)) if Path(match).is_file()]
        if not matches:
            raise UserError(f"{text} is no image, and no folder or pattern with images; check the path")
        paths |= dict.fromkeys(matches)
    return list(paths)


class Reader:
    """Reads images in batches, each while the one before is predicted, and remembers those that it could not read."""

    def __init__(self, paths: Sequence[Path], batch_size: int):
        self.paths, self.batch_size = paths, batch_size
        self.read: list[Path] = []  # in the order of the images that were yielded
        self.unreadable: dict[Path, str] = {}  # path -> reason

    def batches(self) -> Iterator[list[np.ndarray]]:
        """Yield batches of RGB images, each uint8 (height, width, 3)."""
        chunks = [self.paths[start : start + self.batch_size] for start in range(0, len(self.paths), self.batch_size)]
        with ThreadPoolExecutor(THREADS) as pool:
            pending = None
            for chunk in [*chunks, None]:
                following = None if chunk is None else [(path, pool.submit(_read, path)) for path in chunk]
                if pending is not None and (images := self._collect(pending)):
                    yield images
                pending = following

    def batches_with_bar(self) -> Iterator[list[np.ndarray]]:
        """Yield the same batches, with a progress bar over the images."""
        with progress_bar(total=len(self.paths), desc="predict", unit="img", delay=1) as bar:
            for batch in self.batches():
                yield batch
                bar.update(len(batch))

    def _collect(self, pending) -> list[np.ndarray]:
        images = []
        for path, future in pending:
            result = future.result()
            if isinstance(result, str):
                self.unreadable[path] = result
            else:
                self.read.append(path)
                images.append(result)
        return images


def unreadable_error(reader: Reader) -> UserError:
    """Return the error that names an image that could not be read."""
    path, reason = next(iter(reader.unreadable.items()))
    return UserError(
        f"{len(reader.unreadable)} of {len(reader.paths)} images could not be read, such as {path}: {reason}; "
        f"replace them"
    )


def _read(path: Path) -> np.ndarray | str:
    """Return the pixels of an image, or the reason why it cannot be read."""
    try:
        return read_image(path)
    except UnreadableImageError as error:
        return str(error)
