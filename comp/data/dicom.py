"""Read an image from a DICOM file with pydicom, an optional package.

Sizes are compared before anything is decoded: those of the DICOM header, of the compressed image inside, and the length
of what run-length encoding expands to.
"""

from __future__ import annotations

import math
import struct
import warnings
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from comp.data.image_values import ImageSource, ImageValues, Window
from comp.errors import UserError

MAGIC, MAGIC_OFFSET = b"DICM", 128
RLE = "1.2.840.10008.1.2.5"
JPEG = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81)}  # and JPEG-LS
JPEG_2000 = {f"1.2.840.10008.1.2.4.{number}" for number in (90, 91)}
UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
# Not among them is the deflated syntax: pydicom would inflate a whole file, of any size, before its header is known.
TRANSFER_SYNTAXES = {*UNCOMPRESSED, RLE, *JPEG, *JPEG_2000}
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
HEADER_TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction"),
)
PIXEL_TAGS = (
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)
START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # markers of a JPEG that are followed by its size

warnings.filterwarnings("ignore", module=r"pydicom\.")  # it warns without naming the file; our errors name it


def open_dicom(path: Path) -> ImageSource:
    """Read the header of a DICOM file of one image. A ValueError says why the file is not read."""
    dataset = _read(path, with_pixels=False)
    return ImageSource(int(dataset.Columns), int(dataset.Rows), True, partial(_decode, path))


def _read(path: Path, with_pixels: bool) -> Any:
    """Return the elements of a DICOM file that an image consists of, or those without its pixels."""
    try:
        from pydicom import dcmread, filereader
    except ImportError:
        raise UserError(f"{path} is a DICOM file, which pydicom reads; pip install -e '.[dicom]'") from None
    syntax = str(filereader.read_file_meta_info(path).get("TransferSyntaxUID", "none"))
    if syntax not in TRANSFER_SYNTAXES:
        raise ValueError(f"a DICOM file of transfer syntax {syntax[:64]}, which is not read")
    tags = [*HEADER_TAGS, *(PIXEL_TAGS if with_pixels else ())]
    dataset = dcmread(path, stop_before_pixels=not with_pixels, specific_tags=tags)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise ValueError("a DICOM file without an image")
    if (frames := int(dataset.get("NumberOfFrames") or 1)) != 1:
        raise ValueError(f"{frames} frames in one file; a volume or a film is not read as an image")
    kind = str(dataset.get("PhotometricInterpretation"))
    if kind not in GREY + COLOUR or dataset.get("SamplesPerPixel") != (1 if kind in GREY else 3):
        raise ValueError(f"{kind[:32]} with {dataset.get('SamplesPerPixel')} samples per pixel, which is not read")
    if dataset.get("BitsAllocated") not in (8, 16, 32, 64):
        raise ValueError(f"{dataset.get('BitsAllocated')} bits per value, which is not read")
    return dataset


def _decode(path: Path) -> ImageValues:
    from pydicom.pixels import pixel_array

    dataset = _read(path, with_pixels=True)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax not in UNCOMPRESSED:
        _check_encoded_size(dataset, syntax)
        _require_decoder(path, syntax)
    values = pixel_array(dataset, index=0)
    if str(dataset.PhotometricInterpretation) not in GREY:
        return ImageValues(values)
    is_inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    slope = _number(dataset, "RescaleSlope")
    slope = 1.0 if slope is None else slope
    if slope == 0 or not math.isfinite(slope):
        raise ValueError(f"its RescaleSlope is {slope:g}")
    return ImageValues(values, _window(dataset, slope), is_inverted != (slope < 0))


def _window(dataset: Any, slope: float) -> Window | None:
    """Return the first window of the file, in stored values; None if it has none that means something.

    The file states it in values times RescaleSlope plus RescaleIntercept. Percentiles need neither.
    """
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if centre is None or width is None:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if function == "LINEAR":  # PS3.3 C.11.2.1.2.1: half a value lower, as its limits are whole numbers
        centre, width = centre - 0.5, width - 1
    if width <= 0 or not math.isfinite(centre + width):
        return None
    centre, width = (centre - (_number(dataset, "RescaleIntercept") or 0.0)) / slope, abs(width / slope)
    return Window(centre - width / 2, centre + width / 2, "sigmoid" if function == "SIGMOID" else "linear")


def _number(dataset: Any, name: str) -> float | None:
    """Return a number of the header, the first of several; None without one."""
    value = dataset.get(name)
    if value is None or isinstance(value, str):
        return None
    values = value if hasattr(value, "__len__") else [value]
    return float(values[0]) if len(values) else None


def _require_decoder(path: Path, syntax: str) -> None:
    """Refuse a compressed file for which no decoder is installed: no file is at fault, so it ends the command."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    decoder = get_decoder(UID(syntax))
    if not decoder.is_available:
        needed = [text.partition(" - requires ")[2] for text in decoder.missing_dependencies]
        names = next((text for text in needed if "pylibjpeg" in text), needed[0] if needed else "another decoder")
        packages = " ".join(repr(name) for name in names.replace(" and ", ",").replace(" ", "").split(","))
        raise UserError(f"{path} is compressed as {UID(syntax).name}; pip install {packages}")


def _check_encoded_size(dataset: Any, syntax: str) -> None:
    """Refuse compressed data whose decoded size is not that of the DICOM header."""
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if syntax == RLE:
        _check_run_lengths(frame, int(dataset.Rows) * int(dataset.Columns))
        return
    size = _jpeg_size(frame) if syntax in JPEG else _jpeg_2000_size(frame)
    if size != (dataset.Columns, dataset.Rows):
        width, height = size or (0, 0)
        raise ValueError(
            f"its compressed image has {width} x {height} pixels, and its header {dataset.Columns} x {dataset.Rows}"
        )


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG or JPEG-LS image; None if its markers are not read up to the size."""
    position = 2
    while position + 9 <= len(frame) and frame[position] == 0xFF:
        marker, length = frame[position + 1], int.from_bytes(frame[position + 2 : position + 4], "big")
        if marker in START_OF_FRAME:
            height, width = struct.unpack(">HH", frame[position + 5 : position + 9])
            return width, height
        position += 2 + length
    return None


def _jpeg_2000_size(frame: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG 2000 codestream; None for other bytes."""
    if not frame.startswith(b"\xff\x4f\xff\x51") or len(frame) < 24:
        return None
    right, bottom, left, top = struct.unpack(">4I", frame[8:24])
    return right - left, bottom - top


def _check_run_lengths(frame: bytes, pixels: int) -> None:
    """Refuse segments that expand to more than a byte per pixel and a little padding: two bytes may become 128."""
    count, *offsets = struct.unpack("<16L", frame[:64])
    limits = [*offsets[:count], len(frame)]
    for start, end in pairwise(limits):
        if start > end:
            raise ValueError("its run-length segments overlap")
        total = 0
        while start < end and total <= pixels + 128:
            header = frame[start]
            total += header + 1 if header < 128 else 257 - header if header > 128 else 0
            start += header + 2 if header < 128 else 2 if header > 128 else 1
        if total > pixels + 128:
            raise ValueError(f"a run-length segment has more than the {pixels} bytes of its image")
