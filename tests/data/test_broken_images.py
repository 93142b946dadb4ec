"""A broken, hostile or disguised image file is `UnreadableImageError`, in bounded time and memory, in every reader."""

from __future__ import annotations

import io
import os
import random
import struct
import time
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from comp.data import images
from comp.data.cache import make_square_spec
from comp.data.image_stats import survey
from comp.data.images import MAX_PIXELS, UnreadableImageError, longest_side, read_header, read_image
from comp.data.scan import Image
from comp.errors import UserError

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.", r"ignore:::pydicom\.")
NOISE = PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))


def encode(format: str, **options) -> bytes:
    stream = io.BytesIO()
    NOISE.save(stream, format, **options)
    return stream.getvalue()


# ---- declared sizes: refused by the header, before any pixel is decoded ----


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(width: int, height: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(100_000), 9)) + png_chunk(b"IEND", b"")
    )


def gif_bomb(width: int, height: int) -> bytes:
    content = bytearray(encode("GIF"))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def bmp_bomb(width: int, height: int) -> bytes:
    content = bytearray(encode("BMP"))
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def tiff_bomb(width: int, height: int) -> bytes:
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, height),
            (279, 4, 100)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(tags)) + entries + bytes(104)


def webp_bomb(width: int, height: int) -> bytes:
    canvas = b"".join(struct.pack("<I", side - 1)[:3] for side in (width, height))
    extended = b"VP8X" + struct.pack("<II", 10, 0) + canvas
    chunks = b"WEBP" + extended + encode("WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def avif_bomb(width: int, height: int) -> bytes:
    content, box = encode("AVIF"), b"ispe" + bytes(4) + struct.pack(">II", 56, 40)
    assert content.count(box) == 1
    return content.replace(box, box[:8] + struct.pack(">II", width, height))


def jpeg_bomb(width: int, height: int) -> bytes:
    content, size = encode("JPEG"), struct.pack(">HH", 40, 56)
    assert content.count(size) == 1
    return content.replace(size, struct.pack(">HH", height, width))


BOMBS = {
    "png": png_bomb(50_000, 50_000),
    "gif": gif_bomb(65_535, 65_535),
    "bmp": bmp_bomb(30_000, 30_000),
    "tiff": tiff_bomb(100_000, 100_000),
    "webp": webp_bomb(16_000, 16_000),
    "avif": avif_bomb(16_000, 16_000),
    "jpeg": jpeg_bomb(65_000, 65_000),
    "png, just too large": png_bomb(MAX_PIXELS + 1, 1),
}


@pytest.fixture
def bomb(tmp_path, request, monkeypatch) -> Image:
    """A file that declares too many pixels; to decode it fails the test."""

    def fail(*_):
        raise AssertionError("the pixels were decoded")

    from PIL import ImageFile, WebPImagePlugin

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    monkeypatch.setattr(WebPImagePlugin.WebPImageFile, "load", fail)
    path = tmp_path / "x.png"
    path.write_bytes(BOMBS[request.param])
    return Image("x.png", path, "a")


@pytest.mark.parametrize("bomb", BOMBS, indirect=True)
def test_image_that_declares_too_many_pixels_is_not_decoded_by_any_reader(bomb):
    for read in (read_image, read_header):
        with pytest.raises(UnreadableImageError, match="pixels; an image has 1 to 89 million"):
            read(bomb.path)
    assert longest_side(bomb.path) == 0
    assert survey([bomb]).unreadable[0].image == bomb  # data check, folds
    assert make_square_spec([bomb], 32, "squash", None).size == 32  # train


def test_read_image_of_as_many_pixels_as_allowed_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    NOISE.save(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 40 * 56)
    assert read_image(path).shape == (40, 56, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 40 * 56 - 1)
    with pytest.raises(UnreadableImageError, match="56 x 40 pixels"):
        read_image(path)


def test_read_image_too_large_file_is_not_read(tmp_path):
    path = tmp_path / "x.webp"
    path.write_bytes(encode("WEBP"))
    os.truncate(path, 2**31)  # sparse: no disk is used
    with pytest.raises(UnreadableImageError, match=r"2\.1 GB"):
        read_image(path)


# ---- no files, disguised files, errors of decoders ----


def test_read_image_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(UnreadableImageError, match="not a file"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("name", ["x\0.png", "n" * 300 + ".png"])
def test_read_image_impossible_name_raises(name, tmp_path):
    with pytest.raises(UnreadableImageError):
        read_image(tmp_path / name)


@pytest.mark.parametrize("format", ["GIF", "AVIF", "JPEG2000", "PPM", "WEBP", "TIFF", "BMP", "MPO"])
def test_read_image_format_under_another_suffix_is_read(tmp_path, format):
    (tmp_path / "x.jpg").write_bytes(encode(format))
    assert read_image(tmp_path / "x.jpg").shape == (40, 56, 3)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("content", [EPS, encode("DDS"), encode("ICO"), encode("PCX"), b"BLP2" + bytes(200)])
def test_read_image_format_that_no_camera_writes_is_not_decoded(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"^not an image$"):
        read_image(tmp_path / "x.png")


ERRORS = [RuntimeError, NotImplementedError, struct.error, zlib.error, KeyError, IndexError, AttributeError, TypeError,
          RecursionError, MemoryError, AssertionError, OverflowError, ZeroDivisionError, PermissionError]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("stage", ["PIL.Image.open", "PIL.ImageFile.ImageFile.load", "PIL.Image.Image.convert"])
def test_any_error_of_a_decoder_is_one_unreadable_image(tmp_path, monkeypatch, error, stage):
    def fail(*_, **__):
        raise error("broken\nin two lines")

    path = tmp_path / "x.png"
    path.write_bytes(encode("PNG"))
    monkeypatch.setattr(stage, fail)
    with pytest.raises(UnreadableImageError) as raised:
        read_image(path)
    assert "\n" not in str(raised.value)
    image = Image("x.png", path, "a")
    assert [row.image for row in survey([image]).unreadable] == [image]


def test_read_image_floats_that_are_not_finite_raise(tmp_path):
    values = np.ones((4, 4), np.float32)
    values[1, 1] = np.nan
    PillowImage.fromarray(values).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableImageError, match="finite"):
        read_image(tmp_path / "x.tif")


# ---- mutated files ----


def encode_deep(format: str) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(np.asarray(NOISE)[..., 0].astype(np.uint16) * 200).save(stream, format)
    return stream.getvalue()


def encode_array(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def dicom_seeds() -> dict[str, bytes]:
    from tests.data.dicom_files import IMPLICIT, JPEG_2000, JPEG_BASELINE, RLE, dicom_bytes

    grey = np.asarray(NOISE)[..., 0]
    deep, codestream = grey.astype(np.uint16) * 200, io.BytesIO()
    PillowImage.fromarray(deep).save(codestream, "JPEG2000", no_jp2=True)
    window = {"WindowCenter": ["900", "5"], "WindowWidth": ["700", "5"], "RescaleSlope": "2", "RescaleIntercept": "-9"}
    return {
        "x.dcm": dicom_bytes(deep, **window),
        "implicit.dcm": dicom_bytes(grey, IMPLICIT, PhotometricInterpretation="MONOCHROME1"),
        "rle.dcm": dicom_bytes(np.asarray(NOISE), RLE),
        "jpeg.dcm": dicom_bytes(grey, JPEG_BASELINE, encode("JPEG", quality=90)),
        "jp2.dcm": dicom_bytes(deep, JPEG_2000, codestream.getvalue()),
    }


SEEDS = {
    "x.jpg": encode("JPEG"),
    "progressive.jpg": encode("JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
    "x.png": encode("PNG"),
    "x.bmp": encode("BMP"),
    "x.tif": encode("TIFF"),
    "lzw.tif": encode("TIFF", compression="tiff_lzw"),
    "x.webp": encode("WEBP"),
    "lossless.webp": encode("WEBP", lossless=True),
    "x.gif": encode("GIF"),
    "x.avif.png": encode("AVIF"),
    "x.jp2.png": encode("JPEG2000"),
    "grey16.png": encode_deep("PNG"),
    "grey16.tif": encode_deep("TIFF"),
    "stack.npy": encode_array(np.random.default_rng(0).normal(size=(3, 20, 30)).astype(np.float16)),
    "colour.npy": encode_array(np.asarray(NOISE)),
    **(dicom_seeds() if find_spec("pydicom") else {}),
}
MAX_SECONDS = 5  # of a core, for 2,240 pixels; a file that declares 89 million pixels of one colour takes 1 s


def mutate(content: bytes, seed: int) -> bytes:
    """Flip, cut, insert, repeat and swap parts of a file, more often in its first 100 bytes: headers are there.

    Those of a DICOM file are behind 128 bytes without meaning.
    """
    if content[128:132] == b"DICM":
        return content[:132] + mutate(content[132:], seed)
    rng, data = random.Random(seed), bytearray(content)
    for _ in range(rng.randint(1, 4)):
        limit = len(data) if rng.random() < 0.5 else min(100, len(data))
        start, length = rng.randrange(max(1, limit)), rng.randint(1, 8)
        match rng.randrange(6):
            case 0 if start < len(data):
                data[start] ^= 1 << rng.randrange(8)
            case 1:
                data[start : start + length] = rng.choice([b"\xff", b"\0", b"\x7f"]) * length
            case 2:
                data[start:start] = rng.randbytes(length)
            case 3:
                del data[start : start + length]
            case 4:
                del data[rng.randrange(len(data) + 1) :]
            case 5:
                other = rng.randrange(len(data) + 1)
                part = data[other : other + 32]
                data[other : other + 32] = data[start : start + 32]
                data[start : start + 32] = part
    return bytes(data)


def check_mutated(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    start = time.process_time()
    longest_side(path), images.conversion(path)  # they report no broken file
    try:
        pixels = read_image(path)
    except (UnreadableImageError, UserError) as error:  # a UserError: it names a decoder that is not installed
        assert str(error) and "\n" not in str(error)
    else:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0
        assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    assert time.process_time() - start < MAX_SECONDS


SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=SUPPRESSED)
@given(seed=st.integers(0, 2**32))
def test_read_image_mutated_file_is_an_image_or_unreadable(tmp_path, name, seed):
    check_mutated(tmp_path / name, mutate(SEEDS[name], seed))


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=1500, deadline=None, database=None, suppress_health_check=SUPPRESSED)
@given(seed=st.integers(0, 2**32))
def test_read_image_many_mutated_files_are_images_or_unreadable(tmp_path, name, seed):
    check_mutated(tmp_path / name, mutate(SEEDS[name], seed))
