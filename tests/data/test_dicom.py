"""A DICOM file becomes uint8 RGB by its window or percentiles; what it cannot be is refused before it is decoded."""

from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image as PillowImage

from comp.data.images import UnreadableImageError, decode_image, longest_side, read_image
from comp.errors import UserError
from tests.data.dicom_files import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    save_dicom,
)

RAMP = np.linspace(0, 255, 24, dtype=np.uint8)[None].repeat(16, 0)  # dark left, bright right
DEEP = RAMP.astype(np.uint16) * 16


def jpeg_2000(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(values).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    return stream.getvalue()


def jpeg(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(values).save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, RLE])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_read_dicom_uncompressed_and_run_length_files_keep_their_brightness(tmp_path, syntax, dtype):
    values = RAMP.astype(dtype) if dtype == np.uint8 else DEEP.astype(dtype)
    pixels = read_image(save_dicom(tmp_path / "x.dcm", values, syntax))
    assert pixels.shape == (16, 24, 3) and np.abs(pixels.astype(int) - RAMP[..., None]).max() <= 1


def test_read_dicom_jpeg_2000_and_jpeg_are_decoded_by_pillow(tmp_path):
    file = save_dicom(tmp_path / "x.dcm", DEEP, JPEG_2000, jpeg_2000(DEEP))
    assert np.abs(read_image(file).astype(int) - RAMP[..., None]).max() <= 1
    file = save_dicom(tmp_path / "y.dcm", RAMP, JPEG_BASELINE, jpeg(RAMP))
    assert np.abs(read_image(file).astype(int) - RAMP[..., None]).max() <= 8


def test_read_dicom_colour_is_kept(tmp_path):
    colour = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 60)], axis=-1)
    for syntax in (EXPLICIT, RLE):
        assert np.array_equal(read_image(save_dicom(tmp_path / "x.dcm", colour, syntax)), colour)


def test_read_dicom_under_another_suffix_is_read(tmp_path):
    assert read_image(save_dicom(tmp_path / "x.png", RAMP)).shape == (16, 24, 3)


# ---- brightness ----

VALUES = np.array([[0, 1000, 1500, 2000, 4000]], np.uint16)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        # LINEAR: from centre - 0.5 - (width - 1) / 2, that is 1000 to 2000
        ({"WindowCenter": "1500.5", "WindowWidth": "1001"}, [0, 0, 128, 255, 255]),
        ({"WindowCenter": "1500", "WindowWidth": "1000", "VOILUTFunction": "LINEAR_EXACT"}, [0, 0, 128, 255, 255]),
        ({"WindowCenter": "1500", "WindowWidth": "1000", "VOILUTFunction": "SIGMOID"}, [1, 30, 128, 225, 255]),
        ({"WindowCenter": ["1500.5", "9"], "WindowWidth": ["1001", "9"]}, [0, 0, 128, 255, 255]),  # the first
        # in values times slope plus intercept, 500 to 1500
        (
            {"WindowCenter": "500.5", "WindowWidth": "1001", "RescaleSlope": "1", "RescaleIntercept": "-1000"},
            [0, 0, 128, 255, 255],
        ),
        (
            {"WindowCenter": "3000.5", "WindowWidth": "2001", "RescaleSlope": "2", "RescaleIntercept": "0"},
            [0, 0, 128, 255, 255],
        ),
        (
            {"WindowCenter": "-1499.5", "WindowWidth": "1001", "RescaleSlope": "-1", "RescaleIntercept": "0"},
            [255, 255, 127, 0, 0],
        ),
        ({"WindowCenter": "1500", "WindowWidth": "0"}, [0, 64, 96, 128, 255]),  # means nothing: percentiles
        ({"RescaleSlope": "3", "RescaleIntercept": "-9"}, [0, 64, 96, 128, 255]),
        ({"RescaleSlope": "-3", "RescaleIntercept": "0"}, [255, 191, 159, 127, 0]),
    ],
)
@pytest.mark.parametrize("is_inverted", [False, True])
def test_read_dicom_window_of_the_file_decides_else_percentiles(tmp_path, elements, expected, is_inverted):
    kind = {"PhotometricInterpretation": "MONOCHROME1"} if is_inverted else {}
    grey = read_image(save_dicom(tmp_path / "x.dcm", VALUES, **elements, **kind))[0, :, 0].astype(int)
    assert np.abs((255 - grey if is_inverted else grey) - expected).max() <= 1, grey


def test_decode_dicom_rule_is_stated(tmp_path):
    windowed = {"WindowCenter": "9", "WindowWidth": "9"}
    assert decode_image(save_dicom(tmp_path / "x.dcm", VALUES, **windowed)).rule == (
        "the window in the file becomes 0 to 255"
    )
    rule = decode_image(save_dicom(tmp_path / "x.dcm", VALUES, PhotometricInterpretation="MONOCHROME1")).rule
    assert rule == "percentiles 0.5 to 99.5 of the image become 0 to 255, inverted, as low values are bright"


# ---- refused ----


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"NumberOfFrames": 7}, "7 frames in one file; a volume or a film is not read as an image"),
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels; an image has 1 to 89 million"),
        ({"Rows": 0}, "pixels; an image has 1"),
        ({"Rows": 17}, "number of bytes"),  # pydicom's words
        ({"Rows": None}, "a DICOM file without an image"),
        ({"PixelData": None}, "pixel"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR with 1 samples per pixel, which is not read"),
        ({"BitsAllocated": 12}, "12 bits per value"),
        ({"RescaleSlope": "0"}, "its RescaleSlope is 0"),
    ],
)
def test_read_dicom_that_is_no_image_is_refused(tmp_path, elements, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(save_dicom(tmp_path / "x.dcm", DEEP, **elements))


def test_read_dicom_volume_and_large_size_are_refused_by_the_header(tmp_path, monkeypatch):
    monkeypatch.setattr("pydicom.pixels.pixel_array", lambda *_, **__: pytest.fail("the pixels were decoded"))
    for elements in ({"NumberOfFrames": 7}, {"Rows": 60000, "Columns": 60000}):
        assert longest_side(save_dicom(tmp_path / "x.dcm", DEEP, **elements)) == 0


def test_read_dicom_deflated_file_is_not_inflated(tmp_path, monkeypatch):
    file = save_dicom(tmp_path / "x.dcm", np.zeros((16, 24), np.uint16), DEFLATED)
    monkeypatch.setattr("zlib.decompress", lambda *_: pytest.fail("the file was inflated"))
    with pytest.raises(UnreadableImageError, match=r"transfer syntax 1\.2\.840\.10008\.1\.2\.1\.99, which is not read"):
        read_image(file)


def run_lengths(*segments: bytes) -> bytes:
    offsets = np.cumsum([64, *(len(segment) for segment in segments)])[:-1]
    return struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (run_lengths(b"\x81\0" * 40), "more than the 384 bytes of its image"),  # 40 times 128 bytes
        (run_lengths(b"\x81\0" * 1_000_000), "more than the 384 bytes"),
        (struct.pack("<16L", 2, 90, 64, *[0] * 13) + bytes(40), "overlap"),
        (struct.pack("<16L", 16, *[0] * 15), "segments"),
        (b"short", "unpack"),
    ],
)
def test_read_dicom_run_lengths_that_expand_too_far_are_refused(tmp_path, monkeypatch, frame, reason):
    monkeypatch.setattr("pydicom.pixels.decoders.rle._rle_decode_segment", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(save_dicom(tmp_path / "x.dcm", RAMP, RLE, frame))


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        (JPEG_2000, jpeg_2000(np.zeros((200, 300), np.uint8))),
        (JPEG_BASELINE, jpeg(np.zeros((200, 300), np.uint8))),
        (JPEG_LS, b"\xff\xd8\xff\xf7\0\x0b\x08" + struct.pack(">HH", 200, 300) + bytes(9)),
    ],
)
def test_read_dicom_compressed_image_of_another_size_is_not_decoded(tmp_path, monkeypatch, syntax, frame):
    monkeypatch.setattr("pydicom.pixels.pixel_array", lambda *_, **__: pytest.fail("the pixels were decoded"))
    with pytest.raises(UnreadableImageError, match="compressed image has 300 x 200 pixels, and its header 24 x 16"):
        read_image(save_dicom(tmp_path / "x.dcm", RAMP, syntax, frame))


# ---- packages that are missing: no file is at fault, so each is one line that ends the command ----


def test_read_dicom_without_pydicom_names_the_extra(tmp_path, monkeypatch):
    file = save_dicom(tmp_path / "x.dcm", RAMP)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for read in (read_image, longest_side):
        with pytest.raises(
            UserError, match=r"x\.dcm is a DICOM file, which pydicom reads; pip install -e '\.\[dicom\]'$"
        ):
            read(file)


def test_read_dicom_without_its_decoder_names_the_package(tmp_path, monkeypatch):
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    monkeypatch.setattr(get_decoder(UID(JPEG_LOSSLESS)), "_available", {})
    frame = b"\xff\xd8\xff\xc3\0\x0b\x08" + struct.pack(">HH", 16, 24) + bytes(9)
    file = save_dicom(tmp_path / "x.dcm", RAMP, JPEG_LOSSLESS, frame)
    with pytest.raises(UserError, match=r"x\.dcm is compressed as JPEG Lossless.*pip install 'pylibjpeg.*libjpeg.*'$"):
        read_image(file)
    assert longest_side(file) == 24


def test_read_dicom_any_error_of_pydicom_is_one_unreadable_image(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AttributeError("broken\nin two lines")

    file = save_dicom(tmp_path / "x.dcm", RAMP)
    for stage in ("pydicom.dcmread", "pydicom.pixels.pixel_array"):
        with monkeypatch.context() as patch:
            patch.setattr(stage, fail)
            with pytest.raises(UnreadableImageError, match=r"^AttributeError broken in two lines$"):
                read_image(file)
