"""An array of a .npy file becomes uint8 RGB; no code of a file is executed, and its header has limits."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from comp.data import images
from comp.data.images import UnreadableImageError, decode_image, longest_side, read_header, read_image

RAMP = np.linspace(0, 255, 24, dtype=np.uint8)[None].repeat(16, 0)  # dark left, bright right
COLOURED = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 60)], axis=-1)
PERCENTILES = "percentiles 0.5 to 99.5 of the image become 0 to 255"


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def raw_header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text.encode("latin1")


@pytest.mark.parametrize("array", [RAMP, COLOURED, RAMP[..., None], np.asfortranarray(COLOURED), RAMP[:, ::-1]])
def test_read_array_of_8_bits_is_unchanged(tmp_path, array):
    decoded = decode_image(save(tmp_path / "x.npy", array))
    assert decoded.rule == ""
    assert np.array_equal(decoded.pixels, np.broadcast_to(array.reshape(16, 24, -1), (16, 24, 3)))


@pytest.mark.parametrize("array", [RAMP, COLOURED], ids=["grey", "colour"])
@pytest.mark.parametrize("dtype", ["u2", ">u2", "i2", "i4", "u8", "f2", ">f4", "f8"])
def test_read_array_of_other_values_keeps_its_brightness(tmp_path, dtype, array):
    decoded = decode_image(save(tmp_path / "x.npy", (array.astype(float) * 8 + 100).astype(dtype)))
    assert decoded.rule == PERCENTILES
    assert np.abs(decoded.pixels.astype(int) - array.reshape(16, 24, -1)).max() <= 2


def test_read_array_of_truth_values_is_black_and_white(tmp_path):
    assert np.array_equal(read_image(save(tmp_path / "x.npy", RAMP > 100))[..., 0], np.where(RAMP > 100, 255, 0))


def test_read_array_of_several_grey_images_puts_one_below_the_other(tmp_path):
    cadence = np.stack([RAMP.astype(np.float16) + 100 * number for number in range(6)])
    decoded = decode_image(save(tmp_path / "x.npy", cadence))
    assert decoded.pixels.shape == (96, 24, 3)
    assert (np.diff(decoded.pixels[::16, 0, 0].astype(int)) > 20).all()  # one window for all six
    assert decoded.rule == f"6 arrays one below the other, {PERCENTILES}"
    assert (read_header(tmp_path / "x.npy").width, read_header(tmp_path / "x.npy").height) == (24, 96)
    assert longest_side(tmp_path / "x.npy") == 96


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full((9, 9), 7.0), {0}),  # one value
        (np.eye(100) * 5.0, {0, 255}),  # 1 % bright
        (np.where(np.arange(10_000).reshape(100, 100) == 5, 9.0, 1.0), {0, 255}),  # less than half a percent bright
        (np.array([[0.0, 5e-324]]), {0}),  # closer than a scale can express
    ],
)
def test_read_array_of_few_values_has_no_noise(tmp_path, values, expected):
    assert set(read_image(save(tmp_path / "x.npy", values)).ravel().tolist()) == expected


def test_read_array_hot_pixels_leave_the_contrast(tmp_path):
    values = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    values[0, 0] = 65_535
    shown = read_image(save(tmp_path / "x.npy", values))[..., 0]
    assert shown[0, 0] == 255 and shown[50, 0] in range(125, 131)


# ---- refused ----


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("is_array", [True, False])
def test_read_array_of_objects_is_never_loaded(tmp_path, monkeypatch, is_array):
    monkeypatch.chdir(tmp_path)
    if is_array:
        save(tmp_path / "x.npy", np.array([[Malicious()]], object))
    else:  # a pickle alone, which numpy.load would also accept
        (tmp_path / "x.npy").write_bytes(pickle.dumps(Malicious()))
    reason = "Python objects, which are never loaded" if is_array else "not an image"
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(tmp_path / "x.npy")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(5), "5 of float64; an array is read as H x W, H x W x 3 or N x H x W numbers"),
        (np.float64(1), "one value of float64"),
        (np.zeros((2, 2, 2, 2)), "2 x 2 x 2 x 2 of float64"),
        (np.zeros((2, 2), complex), "2 x 2 of complex128"),
        (np.zeros((2, 2), "U9"), "2 x 2 of <U9"),
        (np.zeros((2, 2), "f4,u1"), "2 x 2 of"),
        (np.zeros((65, 2, 2)), "65 arrays in one file"),
        (np.zeros((0, 5)), "5 x 0 pixels; an image has 1"),
        (np.full((2, 2), np.nan), "not finite"),
        (np.array([[-1.7e308, 1.7e308]]), "too far apart"),
    ],
)
def test_read_array_that_is_no_image_is_refused(tmp_path, array, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(save(tmp_path / "x.npy", array))


BROKEN = "its header is not that of an array of numbers"
HUGE = "{'descr': '|u1', 'fortran_order': False, 'shape': (%s)}\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (raw_header(HUGE % "1000000, 1000000"), "1000000 x 1000000 pixels"),
        (raw_header(HUGE % "-8, -8") + bytes(64), "-8 x -8 pixels"),
        (raw_header(HUGE % "8, 9") + bytes(64), "bytes, not the"),
        (raw_header(HUGE % "8, 7") + bytes(64), "bytes, not the"),
        (raw_header("__import__('os').mkdir('executed')"), BROKEN),
        (raw_header("{'descr': " + "[" * 3000 + "}"), BROKEN),
        (raw_header("(" * 4000), BROKEN),
        (raw_header("-" * 4000 + "1"), BROKEN),
        (raw_header(HUGE % "8, 8" + " " * 100_000, (2, 0)) + bytes(64), BROKEN),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", BROKEN),
        (raw_header(HUGE % "8, 8", (3, 0)) + bytes(64), BROKEN),
        (b"\x93NUMPY", BROKEN),
    ],
)
def test_read_array_of_a_hostile_header_is_refused_in_little_memory(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npy").write_bytes(content)
    os.truncate(tmp_path / "x.npy", len(content) if "bytes" in reason else len(content) + 300_000_000)  # sparse
    tracemalloc.start()
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(tmp_path / "x.npy")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000 and not (tmp_path / "executed").exists()
    tracemalloc.stop()


def test_read_array_limit_of_pixels_counts_all_arrays_of_a_file(tmp_path, monkeypatch):
    save(tmp_path / "x.npy", np.zeros((6, 16, 24), np.float16))
    monkeypatch.setattr(images, "MAX_PIXELS", 6 * 16 * 24)
    assert read_image(tmp_path / "x.npy").shape == (96, 24, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 6 * 16 * 24 - 1)
    with pytest.raises(UnreadableImageError, match="24 x 96 pixels"):
        read_image(tmp_path / "x.npy")


@pytest.mark.parametrize("suffix", ["npy", "dcm"])
def test_read_array_pipe_is_not_opened(tmp_path, suffix):
    os.mkfifo(tmp_path / f"x.{suffix}")
    with pytest.raises(UnreadableImageError, match="not a file"):
        read_image(tmp_path / f"x.{suffix}")
    (tmp_path / f"y.{suffix}").symlink_to("/dev/zero")
    with pytest.raises(UnreadableImageError, match="not a file"):
        read_image(tmp_path / f"y.{suffix}")
