"""The image cache: decoded once, never outdated or incomplete, built once for several processes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from comp.data import cache, file_hashes, images
from comp.data.cache import load_cache, make_square_spec
from comp.data.images import SquareSpec, read_image
from comp.data.scan import Dataset, Image
from comp.errors import UserError
from comp.tasks import single_label
from tests.conftest import REPO_ROOT

SMALL = SquareSpec(16)


def make_image(path: Path, seed: int) -> Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (20 + seed, 30, 3), dtype=np.uint8)
    PillowImage.fromarray(noise).save(path, quality=90)
    return Image(path.name, path)


@pytest.fixture
def image_files(tmp_path, monkeypatch) -> list[Image]:
    monkeypatch.chdir(tmp_path)
    return [make_image(Path(f"input/{seed}.jpg"), seed) for seed in range(7)]


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The files that were opened, in any order."""
    opened: list[Path] = []
    monkeypatch.setattr(cache, "read_image", lambda path: opened.append(path) or read_image(path))
    return opened


def folders() -> list[str]:
    return sorted(path.name for path in cache.CACHE.iterdir() if path.is_dir())


@pytest.mark.parametrize("square", [SMALL, SquareSpec(16, "crop"), SquareSpec(24, "pad"), SquareSpec(16, "squash", 10)])
def test_load_cache_row_i_is_the_square_of_image_i(image_files, square):
    rows = load_cache("cells", image_files, square)
    assert len(rows) == len(image_files)
    for row, image in enumerate(image_files):
        assert np.array_equal(rows[row], square(read_image(image.path)))


def test_load_cache_more_images_than_a_block_stay_in_order(image_files):
    repeated = [Image(f"{number}", image_files[number % 7].path) for number in range(600)]
    rows = load_cache("cells", repeated, SMALL)
    assert all(np.array_equal(rows[number], rows[number % 7]) for number in (6, 255, 256, 257, 511, 512, 599))


def test_cache_writing_to_a_row_does_not_change_the_file(image_files):
    cache = load_cache("cells", image_files, SMALL)
    before = cache[0].copy()
    cache[0][:] = 0
    assert before.any() and np.array_equal(cache[0], before)


def test_load_cache_second_call_decodes_nothing(image_files, decoded):
    load_cache("cells", image_files, SMALL)
    assert sorted(decoded) == [image.path for image in image_files]
    load_cache("cells", image_files, SMALL)
    assert len(decoded) == len(image_files)


def test_load_cache_changed_image_is_decoded_again(image_files, decoded):
    old = np.array(load_cache("cells", image_files, SMALL)[3])
    make_image(image_files[3].path, 99)
    assert not np.array_equal(load_cache("cells", image_files, SMALL)[3], old) and len(folders()) == 2


def test_load_cache_image_with_a_later_time_is_decoded_again(image_files, decoded):
    load_cache("cells", image_files, SMALL)
    stat = image_files[3].path.stat()
    os.utime(image_files[3].path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    load_cache("cells", image_files, SMALL)
    assert len(decoded) == 2 * len(image_files)


def test_load_cache_other_square_order_or_dataset_has_its_own_cache(image_files):
    calls = [
        (name, images, square_spec)
        for name, images, square_spec in (
            ("cells", image_files, SMALL),
            ("cells", image_files, SquareSpec(17)),
            ("cells", image_files, SquareSpec(16, "pad")),
            ("cells", image_files, SquareSpec(16, "squash", 8)),
            ("cells", image_files[::-1], SMALL),
            ("cells", image_files[1:], SMALL),
            ("other", image_files, SMALL),
        )
    ]
    files = {load_cache(*arguments).file for arguments in calls}
    assert len(files) == len(calls) == len(folders())


@pytest.mark.parametrize(
    ("sides", "crop", "size", "expected"),
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
def test_make_square_spec_is_at_most_256_and_the_images_and_at_least_the_model_size(
    tmp_path, sides, crop, size, expected
):
    PillowImage.new("RGB", sides).save(tmp_path / "a.png")
    assert make_square_spec([Image("a.png", tmp_path / "a.png")], size, "pad", crop) == SquareSpec(
        expected, "pad", crop
    )


def test_load_cache_small_images_keep_their_pixels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    PillowImage.fromarray(pixels).save(tmp_path / "a.png")
    images = [Image("a.png", tmp_path / "a.png")]
    assert np.array_equal(load_cache("cells", images, make_square_spec(images, 64, "squash", None))[0], pixels)


UNREADABLE = {
    "truncated": lambda content: content[: len(content) // 2],
    "text": lambda content: b"not a picture at all",
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_load_cache_unreadable_image_raises_with_its_name_and_leaves_nothing(image_files, kind):
    path = image_files[4].path
    content = path.read_bytes()
    path.write_bytes(UNREADABLE[kind](content))
    with pytest.raises(UserError, match=rf"cannot read the image {path}: .*python -m comp data check"):
        load_cache("cells", image_files, SMALL)
    assert folders() == []
    path.write_bytes(content)
    assert np.array_equal(load_cache("cells", image_files, SMALL)[4], SMALL(read_image(path)))


def test_load_cache_full_disk_leaves_nothing(image_files, monkeypatch):
    def fail(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            load_cache("cells", image_files, SMALL)
    assert folders() == []
    assert len(load_cache("cells", image_files, SMALL)) == len(image_files)


def test_load_cache_after_a_killed_build_builds_again(image_files):
    file = load_cache("cells", image_files, SMALL).file
    file.parent.rename(f"{file.parent}.part")
    (Path(f"{file.parent}.part") / "images.npy").write_bytes(b"half")
    rows = load_cache("cells", image_files, SMALL)
    assert np.array_equal(rows[6], SMALL(read_image(image_files[6].path))) and folders() == [file.parent.name]


SCRIPT = """
import hashlib, sys
from pathlib import Path
from comp.data import cache, file_hashes, images
from comp.data.images import SquareSpec
from comp.data.scan import Image
from comp.tasks import single_label
decoded, read = [], cache.read_image
cache.read_image = lambda path: decoded.append(path) or read(path)
images = [Image(path.name, path) for path in sorted(Path("input").iterdir())]
print("ready", flush=True)
sys.stdin.readline()
rows = cache.load_cache("cells", images, SquareSpec(64))
print(len(decoded), hashlib.sha256(b"".join(rows[i].tobytes() for i in range(len(rows)))).hexdigest())
"""


def test_load_cache_two_processes_build_once_and_read_the_same(image_files):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
        )
        for _ in range(2)
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0].split() for process in processes]
    assert sorted(int(count) for count, _ in outputs) == [0, len(image_files)]
    assert outputs[0][1] == outputs[1][1] and len(folders()) == 1


# ---- damage, and files that changed without a trace ----

DAMAGE = {
    "truncated": lambda content: content[:-1],
    "longer": lambda content: content + b"0",
    "cut to half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "another header": lambda content: content.replace(b"(7, 16, 16, 3)", b"(7, 16, 48, 1)"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_load_cache_damaged_array_is_made_again_with_a_line(image_files, decoded, capsys, kind):
    file = load_cache("cells", image_files, SMALL).file
    content = file.read_bytes()
    file.write_bytes(DAMAGE[kind](content))
    rows = load_cache("cells", image_files, SMALL)
    assert len(decoded) == 2 * len(image_files) and file.read_bytes() == content
    assert np.array_equal(rows[6], SMALL(read_image(image_files[6].path)))
    error = capsys.readouterr().err
    assert str(file) in error and "; decoding the images again" in error


@pytest.mark.parametrize("obstruct", [os.mkfifo, os.mkdir])
def test_load_cache_and_verify_cache_do_not_wait_for_a_pipe(image_files, capsys, obstruct):
    dataset = Dataset(Path("input/cells"), single_label("a"), (0,), tuple(image_files), (), "name")
    file = load_cache("cells", image_files, SMALL).file
    for make_again in (lambda: load_cache("cells", image_files, SMALL), lambda: cache.verify_cache(dataset)):
        file.unlink()
        obstruct(file)
        make_again()
    assert "1 damaged" in capsys.readouterr().out
    assert load_cache("cells", image_files, SMALL).file.is_file()


@pytest.mark.parametrize("content", [None, "", "[]", '{"bytes": 1, "xxh3_128": "0"}'])
def test_load_cache_missing_or_wrong_record_makes_the_array_again(image_files, decoded, content):
    record = load_cache("cells", image_files, SMALL).file.with_name("cache.json")
    record.unlink() if content is None else record.write_text(content)
    load_cache("cells", image_files, SMALL)
    assert len(decoded) == 2 * len(image_files)


def test_cache_row_of_an_array_cut_while_it_is_used_raises(image_files):
    rows = load_cache("cells", image_files, SMALL)
    rows.file.write_bytes(rows.file.read_bytes()[:-1])
    assert rows[5].shape == (16, 16, 3)
    with pytest.raises(UserError, match=r"images\.npy ends before image 6; run the same command again"):
        rows[6]


def replace_unnoticed(path: Path, content: bytes) -> None:
    """Change a file's content, but neither its size nor its modification time."""
    stat = path.stat()
    assert len(content) == stat.st_size and content != path.read_bytes()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture
def settled(monkeypatch) -> None:
    """Let the index trust files of any age."""
    monkeypatch.setattr(file_hashes, "MIN_AGE_NS", 0)


@pytest.mark.parametrize("age", [0, file_hashes.MIN_AGE_NS])
@pytest.mark.parametrize("position", [0, 0.5, -1])
def test_cache_key_changes_with_any_byte_of_a_file_of_equal_size_and_time(image_files, monkeypatch, age, position):
    monkeypatch.setattr(file_hashes, "MIN_AGE_NS", age)
    path = image_files[3].path
    content = bytearray(path.read_bytes())
    key = cache.cache_key(image_files, SMALL)
    time.sleep(0.02)  # the clock of the file system has ticks of 4 ms
    content[int(position * len(content)) if position > 0 else position] ^= 1
    replace_unnoticed(path, bytes(content))
    assert cache.cache_key(image_files, SMALL) != key


def test_load_cache_image_replaced_by_one_of_equal_size_and_time_is_decoded_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    colours = {name: PillowImage.new("RGB", (8, 8), name) for name in ("red", "blue")}
    for name, picture in colours.items():
        picture.save(f"{name}.bmp")
    image = Image("red.bmp", Path("red.bmp"))
    before = load_cache("cells", [image], SMALL)[0]
    replace_unnoticed(image.path, Path("blue.bmp").read_bytes())
    after = load_cache("cells", [image], SMALL)[0]
    assert before[0, 0].tolist() == [255, 0, 0] and after[0, 0].tolist() == [0, 0, 255]


def test_hash_files_reads_only_files_that_changed(image_files, settled, monkeypatch):
    read: list[Path] = []
    original = file_hashes.content_hash
    monkeypatch.setattr(file_hashes, "content_hash", lambda path: read.append(path) or original(path))
    hashes = file_hashes.hash_files(image_files, cache.CACHE)
    assert read == [image.path for image in image_files]
    assert file_hashes.hash_files(image_files, cache.CACHE) == hashes and len(read) == 7
    os.utime(image_files[2].path, (1, 1))
    assert file_hashes.hash_files(image_files, cache.CACHE) == hashes and read[7:] == [image_files[2].path]
    assert file_hashes.hash_files(image_files, cache.CACHE, use_index=False) == hashes and len(read) == 15


def test_hash_files_young_file_is_not_trusted(image_files, monkeypatch):
    read: list[Path] = []
    original = file_hashes.content_hash
    monkeypatch.setattr(file_hashes, "content_hash", lambda path: read.append(path) or original(path))
    for _ in range(2):
        file_hashes.hash_files(image_files, cache.CACHE)
    assert len(read) == 14


@pytest.mark.parametrize("content", ["", "[]", '{"files": [null]}', '{"files": [[1, 2, 3, 4, 5]]}'])
def test_hash_files_broken_index_is_made_again(image_files, settled, content):
    hashes = file_hashes.hash_files(image_files, cache.CACHE)
    [index] = cache.CACHE.glob("files-*.json")
    good = index.read_text()
    index.write_text(content)
    assert file_hashes.hash_files(image_files, cache.CACHE) == hashes and index.read_text() == good


def test_hash_files_without_space_for_an_index_returns_the_hashes(image_files, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    hashes = file_hashes.hash_files(image_files, cache.CACHE)
    monkeypatch.setattr(file_hashes, "write_json", fail)
    assert file_hashes.hash_files(image_files, cache.CACHE, use_index=False) == hashes


def test_verify_cache_finds_a_changed_array_and_deletes_it(image_files, capsys, settled):
    dataset = Dataset(Path("input/cells"), single_label("a"), (0,), tuple(image_files), (), "name")
    rows = load_cache("cells", image_files, SMALL)
    cache.verify_cache(dataset)
    assert "verified 7 image files and 1 caches, 0 damaged" in capsys.readouterr().out and rows.file.is_file()
    content = bytearray(rows.file.read_bytes())
    content[-1] ^= 1
    rows.file.write_bytes(content)
    assert rows.find_damage() == "" and rows.find_damage(with_content=True) == "its content is not what was written"
    cache.verify_cache(dataset)
    output = capsys.readouterr()
    assert "1 damaged" in output.out and str(rows.file.parent) in output.err and not rows.file.exists()


def test_verify_cache_finds_a_file_that_the_index_takes_for_unchanged(image_files, capsys, settled):
    dataset = Dataset(Path("input/cells"), single_label("a"), (0,), tuple(image_files), (), "name")
    key = cache.cache_key(image_files, SMALL)
    [index] = cache.CACHE.glob("files-*.json")
    content = json.loads(index.read_text())
    content["files"][3][4] = "0" * 32  # as if the file had had another content
    index.write_text(json.dumps(content))
    assert cache.cache_key(image_files, SMALL) != key
    cache.verify_cache(dataset)
    assert f"1 image files changed unnoticed, such as {image_files[3].path}" in capsys.readouterr().err
    assert cache.cache_key(image_files, SMALL) == key


# ---- images of more than 8 bits ----


def make_deep_image(path: Path) -> Image:
    values = np.arange(600, dtype=np.uint16).reshape(20, 30) * 90
    PillowImage.fromarray(values).save(path)
    return Image(path.name, path)


def test_cache_key_of_8_bit_images_is_that_of_earlier_versions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = Image("x.png", Path("x.png"))
    PillowImage.new("RGB", (4, 4), "red").save(image.path)
    os.utime(image.path, ns=(10**18, 10**18))
    files = [["x.png", 10**18, file_hashes.content_hash(image.path)]]
    geometry = {"size": 16, "fit": "squash", "crop": None}
    expected = hashlib.sha256(json.dumps([files, geometry]).encode()).hexdigest()
    assert cache.cache_key([image], SMALL) == expected[:16]
    stats = [["x.png", image.path.stat().st_size, 10**18]]
    assert cache.stat_key([image], SMALL) == hashlib.sha256(json.dumps([stats, geometry]).encode()).hexdigest()[:12]


@pytest.mark.parametrize("key", [cache.cache_key, cache.stat_key])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_cache_key_of_images_of_more_bits_changes_with_the_rule(image_files, monkeypatch, suffix, key):
    deep, plain = make_deep_image(Path(f"input/x.{suffix}")), make_image(Path(f"input/y.{suffix}"), 3)
    before = key([deep], SMALL), key([plain], SMALL), key([deep, plain], SMALL)
    for module in (images, file_hashes):
        monkeypatch.setattr(module, "CONVERSION", "another rule")
    after = key([deep], SMALL), key([plain], SMALL), key([deep, plain], SMALL)
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True, False]


def test_hash_files_index_of_an_earlier_version_is_read_again(image_files, settled):
    deep = make_deep_image(Path("input/x.png"))
    hashes = file_hashes.hash_files([deep], cache.CACHE)
    [index] = cache.CACHE.glob("files-*.json")
    content = json.loads(index.read_text())
    assert content["files"][0][4] == hashes[0] and "+" in hashes[0]
    content["files"][0][4] = hashes[0].partition("+")[0]
    del content["conversion"]
    index.write_text(json.dumps(content))
    assert file_hashes.hash_files([deep], cache.CACHE) == hashes


def test_conversion_is_found_without_pillow_for_formats_that_show_it_first(image_files, monkeypatch):
    make_image(Path("input/x.png"), 3)
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("the file was opened"))
    assert {images.conversion(path) for path in (image_files[0].path, Path("input/x.png"))} == {""}
    assert images.conversion(Path("input/missing.png")) == ""
