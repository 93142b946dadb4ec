"""The cache is the pictures, decoded once: never stale, never half, one build however many ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from comp.data import cache
from comp.data.cache import load_cache, make_square_spec
from comp.data.images import SquareSpec, read_image
from comp.data.scan import Image
from comp.errors import UserError

SMALL = SquareSpec(16)


def paint(path: Path, seed: int) -> Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (20 + seed, 30, 3), dtype=np.uint8)
    Picture.fromarray(noise).save(path, quality=90)
    return Image(path.name, path)


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> list[Image]:
    monkeypatch.chdir(tmp_path)
    return [paint(Path(f"input/{seed}.jpg"), seed) for seed in range(7)]


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """Which files were opened, in any order."""
    opened: list[Path] = []
    monkeypatch.setattr(cache, "read_image", lambda path: opened.append(path) or read_image(path))
    return opened


def folders() -> list[str]:
    return sorted(path.name for path in cache.CACHE.iterdir() if path.is_dir())


@pytest.mark.parametrize("square", [SMALL, SquareSpec(16, "crop"), SquareSpec(24, "pad"), SquareSpec(16, "squash", 10)])
def test_row_i_is_the_square_of_image_i(pictures, square):
    rows = load_cache("cells", pictures, square)
    assert len(rows) == len(pictures)
    for row, image in enumerate(pictures):
        assert np.array_equal(rows[row], square(read_image(image.path)))


def test_more_images_than_one_portion_stay_in_order(pictures):
    many = [Image(f"{number}", pictures[number % 7].path) for number in range(600)]
    rows = load_cache("cells", many, SMALL)
    assert all(np.array_equal(rows[number], rows[number % 7]) for number in (6, 255, 256, 257, 511, 512, 599))


def test_writing_to_a_row_does_not_change_the_cache(pictures):
    cache = load_cache("cells", pictures, SMALL)
    before = cache[0].copy()
    cache[0][:] = 0
    assert before.any() and np.array_equal(cache[0], before)


def test_a_second_asking_decodes_nothing(pictures, decoded):
    load_cache("cells", pictures, SMALL)
    assert sorted(decoded) == [image.path for image in pictures]
    load_cache("cells", pictures, SMALL)
    assert len(decoded) == len(pictures)


def test_a_changed_picture_is_decoded_again(pictures, decoded):
    old = np.array(load_cache("cells", pictures, SMALL)[3])
    paint(pictures[3].path, 99)
    assert not np.array_equal(load_cache("cells", pictures, SMALL)[3], old) and len(folders()) == 2


def test_a_picture_of_the_same_length_but_a_later_time_is_decoded_again(pictures, decoded):
    load_cache("cells", pictures, SMALL)
    stat = pictures[3].path.stat()
    os.utime(pictures[3].path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    load_cache("cells", pictures, SMALL)
    assert len(decoded) == 2 * len(pictures)


def test_every_other_square_order_and_dataset_has_a_cache_of_its_own(pictures):
    ways = [
        (name, images, square)
        for name, images, square in (
            ("cells", pictures, SMALL),
            ("cells", pictures, SquareSpec(17)),
            ("cells", pictures, SquareSpec(16, "pad")),
            ("cells", pictures, SquareSpec(16, "squash", 8)),
            ("cells", pictures[::-1], SMALL),
            ("cells", pictures[1:], SMALL),
            ("other", pictures, SMALL),
        )
    ]
    files = {load_cache(*way).file for way in ways}
    assert len(files) == len(ways) == len(folders())


@pytest.mark.parametrize(
    ("sides", "crop", "wanted", "kept"),
    [
        ((360, 363), None, 96, 256),
        ((360, 363), None, 256, 256),
        ((360, 363), None, 300, 300),
        ((360, 363), 200, 96, 200),
        ((64, 64), None, 64, 64),
        ((64, 64), None, 96, 96),
        ((40, 900), None, 64, 256),
    ],
)
def test_the_working_size_is_256_but_never_more_than_the_pictures_have_nor_less_than_the_model_asks(
    tmp_path, sides, crop, wanted, kept
):
    Picture.new("RGB", sides).save(tmp_path / "a.png")
    assert make_square_spec([Image("a.png", tmp_path / "a.png")], wanted, "pad", crop) == SquareSpec(kept, "pad", crop)


def test_a_cache_of_small_pictures_holds_their_very_pixels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "a.png")
    images = [Image("a.png", tmp_path / "a.png")]
    assert np.array_equal(load_cache("cells", images, make_square_spec(images, 64, "squash", None))[0], pixels)


BROKEN = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "text": lambda whole: b"not a picture at all",
    "empty": lambda whole: b"",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_picture_is_refused_by_name_and_leaves_nothing(pictures, how):
    path = pictures[4].path
    whole = path.read_bytes()
    path.write_bytes(BROKEN[how](whole))
    with pytest.raises(UserError, match=rf"cannot read the image {path}: .*python -m comp data check"):
        load_cache("cells", pictures, SMALL)
    assert folders() == []
    path.write_bytes(whole)
    assert np.array_equal(load_cache("cells", pictures, SMALL)[4], SMALL(read_image(path)))


def test_a_full_disk_leaves_nothing_that_looks_whole(pictures, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            load_cache("cells", pictures, SMALL)
    assert folders() == []
    assert len(load_cache("cells", pictures, SMALL)) == len(pictures)


def test_what_a_killed_build_left_is_built_anew(pictures):
    file = load_cache("cells", pictures, SMALL).file
    file.parent.rename(f"{file.parent}.part")
    (Path(f"{file.parent}.part") / "images.npy").write_bytes(b"half")
    rows = load_cache("cells", pictures, SMALL)
    assert np.array_equal(rows[6], SMALL(read_image(pictures[6].path))) and folders() == [file.parent.name]


ASK = """
import hashlib, sys
from pathlib import Path
from comp.data import cache
from comp.data.images import SquareSpec
from comp.data.scan import Image
decoded, read = [], cache.read_image
cache.read_image = lambda path: decoded.append(path) or read(path)
images = [Image(path.name, path) for path in sorted(Path("input").iterdir())]
print("ready", flush=True)
sys.stdin.readline()
rows = cache.load_cache("cells", images, SquareSpec(64))
print(len(decoded), hashlib.sha256(b"".join(rows[i].tobytes() for i in range(len(rows)))).hexdigest())
"""


def test_two_processes_asking_at_once_make_one_build_and_read_the_same(pictures):
    house = Path(__file__).resolve().parents[1]
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", ASK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(house)},
        )
        for _ in range(2)
    ]
    assert [process.stdout.readline() for process in asking] == ["ready\n"] * 2
    for process in asking:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate()[0].split() for process in asking]
    assert sorted(int(count) for count, _ in told) == [0, len(pictures)]
    assert told[0][1] == told[1][1] and len(folders()) == 1
