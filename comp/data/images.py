"""Decode image files, and turn images of any shape into squares. Every file is opened here, within the same limits."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from comp.data import array_file, dicom
from comp.data.image_values import CONVERSION, DecodedImage, ImageSource, ImageValues, to_rgb
from comp.errors import UserError

cv2.setNumThreads(0)  # one thread per image: OpenCV's threads compete with torch's on small machines

# The formats that are decoded, whatever the suffix. Pillow knows 40 more: some start programs (EPS: Ghostscript).
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000", "PPM")
HEAD_BYTES = 132  # up to the signature of a DICOM file
# What shows within HEAD_BYTES that the values have 8 bits: JPEG, GIF, BMP, WebP and AVI; and the PNG that do not.
EIGHT_BIT_MAGIC = (b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
PNG_MAGIC, PNG_16_BIT_GREY = b"\x89PNG", b"\x10\x00"  # bit depth and colour type, bytes 24 and 25
# Pillow's limit for a warning, here an error: 268 MB as RGB. A file of a few KB can declare 10,000 times as many.
MAX_PIXELS = 89_478_485
MAX_PADDED_SIDE = 4096  # a longer image is shrunk to it before it is padded to a square, if that is beyond MAX_PIXELS
MAX_FILE_BYTES = 2**30  # MAX_PIXELS of four channels and 16 bits, uncompressed, are 0.7 GB
warnings.filterwarnings("ignore", module=r"PIL\.")  # Pillow warns without naming the file; our errors name it


class UnreadableImageError(Exception):
    """A file that is not a complete image; its text is the reason."""


@dataclass(frozen=True)
class SquareSpec:
    """The steps that make an image square: an optional centre crop in pixels, then squash, crop or pad to `size`.

    The names and the order of these fields are part of every cache key (cache.py) and of every bundle.
    """

    size: int
    fit: str = "squash"
    crop: int | None = None

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the square of an image, uint8 (size, size, 3)."""
        if self.crop:
            pixels = _crop_centre(pixels, self.crop, self.crop)
        height, width = pixels.shape[:2]
        if self.fit == "crop":
            pixels = _crop_centre(pixels, min(height, width), min(height, width))
        elif self.fit == "pad":
            if max(height, width) ** 2 > MAX_PIXELS:  # 1 x 89 million pixels would become 24 PB
                pixels = _shrink(pixels, max(MAX_PADDED_SIDE, self.size))
                height, width = pixels.shape[:2]
            side = max(height, width)
            top, left = (side - height) // 2, (side - width) // 2
            pixels = cv2.copyMakeBorder(
                pixels, top, side - height - top, left, side - width - left, cv2.BORDER_REFLECT_101
            )
        return resize(pixels, self.size)


@dataclass(frozen=True)
class ImageHeader:
    """The part of an image file that is read without decoding pixels."""

    width: int
    height: int
    jpeg_tables: dict[int, list[int]]  # quantisation tables; empty for other formats


def read_image(path: Path) -> np.ndarray:
    """Return the pixels of a file as uint8 RGB, upright."""
    return decode_image(path).pixels


def decode_image(path: Path) -> DecodedImage:
    """Return the pixels of a file as uint8 RGB, upright, and the rule by which other values became 8 bits."""
    with _open_image(path) as source:
        return to_rgb(source.decode())


def pillow_to_rgb(image: PillowImage.Image) -> np.ndarray:
    """Return the pixels of an opened image as uint8 RGB, upright, as they are read from its file."""
    with _decoding():
        return to_rgb(_decode_pillow(image)).pixels


def read_header(path: Path) -> ImageHeader:
    """Return the header of an image file; its pixels may still be unreadable."""
    with _open_image(path) as source:
        return ImageHeader(source.width, source.height, source.jpeg_tables)


def longest_side(path: Path) -> int:
    """Return the longer side in pixels from the file header, or 0 for an unreadable file (`read_image` reports why)."""
    try:
        header = read_header(path)
    except UnreadableImageError:
        return 0
    return max(header.width, header.height)


def conversion(path: Path) -> str:
    """Return the rule by which the values of a file become 8 bits, for cache keys; "" if they have 8 bits."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
        if head.startswith(EIGHT_BIT_MAGIC) or (head.startswith(PNG_MAGIC) and head[24:26] != PNG_16_BIT_GREY):
            return ""
        with _open_image(path) as source:
            return CONVERSION if source.is_converted else ""
    except (UnreadableImageError, OSError):
        return ""


@contextlib.contextmanager
def _open_image(path: Path) -> Iterator[ImageSource]:
    """Open a file whose header declares an acceptable size; any error inside is an UnreadableImageError."""
    with _decoding():
        if not path.is_file():  # to open a pipe would wait for a writer
            raise UnreadableImageError("not a file" if path.exists() else "missing")
        size = path.stat().st_size
        if not 0 < size <= MAX_FILE_BYTES:
            raise UnreadableImageError(f"{size / 1e9:.1f} GB, more than an image can have" if size else "empty file")
        with _open_format(path) as source:
            if min(source.width, source.height) < 1 or source.width * source.height > MAX_PIXELS:
                raise _wrong_size(f"{source.width} x {source.height} pixels")
            yield source


@contextlib.contextmanager
def _decoding() -> Iterator[None]:
    """Turn every error of a decoder into an UnreadableImageError.

    Decoders raise what they like for a broken file: struct.error, KeyError, RuntimeError, NotImplementedError.
    """
    try:
        yield
    except (UnreadableImageError, UserError):  # a UserError: a package is missing, and no file is at fault
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image") from None
    except PillowImage.DecompressionBombError:
        raise _wrong_size("too many pixels") from None
    except MemoryError:
        raise UnreadableImageError("not enough memory to decode it") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        is_sentence = reason and isinstance(error, (OSError, SyntaxError, ValueError, EOFError))
        raise UnreadableImageError(reason if is_sentence else f"{type(error).__name__} {reason}".strip()) from None


@contextlib.contextmanager
def _open_format(path: Path) -> Iterator[ImageSource]:
    """Open a file in the format that its first bytes show, whatever its suffix."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(array_file.MAGIC):
        yield array_file.open_array(path)
    elif head[dicom.MAGIC_OFFSET :] == dicom.MAGIC:
        yield dicom.open_dicom(path)
    else:
        with PillowImage.open(path, formats=FORMATS) as image:
            tables = getattr(image, "quantization", None) or {}
            is_converted = image.mode.startswith("I") or image.mode == "F"
            yield ImageSource(*image.size, is_converted, lambda: _decode_pillow(image), tables)


def _decode_pillow(image: PillowImage.Image) -> ImageValues:
    """Decode by Pillow, because OpenCV fills a truncated JPEG with grey without an error."""
    image.load()
    upright = ImageOps.exif_transpose(image)
    is_converted = upright.mode.startswith("I") or upright.mode == "F"  # Pillow would clip these to 8 bits
    return ImageValues(np.asarray(upright if is_converted else upright.convert("RGB")))


def _wrong_size(size: str) -> UnreadableImageError:
    return UnreadableImageError(f"{size}; an image has 1 to {MAX_PIXELS // 10**6} million pixels")


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize an image to size x size.

    Area averaging looks better from half the side down; above that, linear interpolation is as clean and 5 times
    faster (256 to 224 px).
    """
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    interpolation = cv2.INTER_AREA if min(height, width) >= 2 * size else cv2.INTER_LINEAR
    return cv2.resize(pixels, (size, size), interpolation=interpolation)


def _shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    """Resize an image so that its longer side has `side` pixels and its shorter one at least 1."""
    scale = side / max(pixels.shape[:2])
    height, width = (max(1, round(length * scale)) for length in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def _crop_centre(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the centre of an image, at most `height` x `width`."""
    height, width = min(height, pixels.shape[0]), min(width, pixels.shape[1])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]
