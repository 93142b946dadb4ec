"""Read an image from a .npy file. The header is parsed as a literal and the rest as numbers: no code is executed."""

from __future__ import annotations

import io
import warnings
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from comp.data.image_values import ImageSource, ImageValues

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 4096  # that of an array of numbers has 128
MAX_STACK = 64  # arrays of one file that are put one below the other
warnings.filterwarnings("ignore", message="Reading `.npy` or `.npz` file required additional header parsing")


class _Header(NamedTuple):
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype
    offset: int  # of the values in the file


def open_array(path: Path) -> ImageSource:
    """Read the header of a .npy file.

    H x W, H x W x 1 and H x W x 3 are an image, and N x H x W are N grey images, put one below the other. A ValueError
    says why the file is not read.
    """
    header = _read_header(path)
    shape = header.shape
    if not 2 <= len(shape) <= 3 or header.dtype.kind not in "buif" or header.dtype.itemsize > 8:
        size = " x ".join(map(str, shape)) or "one value"
        raise ValueError(f"{size} of {header.dtype}; an array is read as H x W, H x W x 3 or N x H x W numbers")
    if len(shape) == 3 and shape[2] not in (1, 3):
        count, height, width = shape
        if count > MAX_STACK:
            raise ValueError(f"{count} arrays in one file; up to {MAX_STACK} are put one below the other")
        height *= count
    else:
        height, width = shape[:2]
    is_8_bits = header.dtype in (np.uint8, np.bool_)
    return ImageSource(width, height, not is_8_bits, partial(_decode, path, header, height, width))


def _read_header(path: Path) -> _Header:
    """Return the header; only its first MAX_HEADER_BYTES are read, whatever length it states."""
    with open(path, "rb") as file:
        stream = io.BytesIO(file.read(MAX_HEADER_BYTES))
    try:
        # Version 3.0 is for named fields, which are not the values of an image.
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, is_fortran, dtype = read(stream, MAX_HEADER_BYTES)
    except Exception:  # numpy raises what the parser of literals raises
        raise ValueError("its header is not that of an array of numbers") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    return _Header(shape, is_fortran, dtype, stream.tell())


def _decode(path: Path, header: _Header, height: int, width: int) -> ImageValues:
    count = height * width * (header.shape[2] if len(header.shape) == 3 and header.shape[2] in (1, 3) else 1)
    expected = header.offset + count * header.dtype.itemsize
    if (length := path.stat().st_size) != expected:
        raise ValueError(f"it has {length} bytes, not the {expected} that its header states")
    values = np.fromfile(path, header.dtype, count, offset=header.offset)
    values = values.reshape(header.shape, order="F" if header.is_fortran else "C")
    if values.dtype == np.bool_:
        values = values * np.uint8(255)
    layout = ""
    if len(header.shape) == 3 and header.shape[2] == 1:
        values = values[..., 0]
    elif len(header.shape) == 3 and header.shape[2] != 3:
        values = values.reshape(height, width)
        layout = f"{header.shape[0]} arrays one below the other" if header.shape[0] > 1 else ""
    return ImageValues(np.ascontiguousarray(values), layout=layout)
