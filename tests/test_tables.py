"""Tables read back unchanged, malformed ones are refused with their name, and writes are atomic."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp.errors import UserError
from comp.files import file_sha256, read_json, write_atomic, write_json
from comp.prediction_file import read_predictions
from comp.tables import FOLDS_COLUMNS, read_csv, write_csv

AWKWARD = ["NA", "null", "nan", "None", "007", "1e5", "True", "-", "a,b", 'say "hi"', "zelle_ä_细胞.png", " led", "x y"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_write_atomic_full_disk_keeps_the_old_file_only(tmp_path, monkeypatch, step):
    path = tmp_path / "scores.csv"
    write_atomic(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(path, "new and longer")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["scores.csv"]


def test_write_atomic_interrupted_keeps_the_old_file_only(tmp_path, monkeypatch):
    path = tmp_path / "scores.csv"
    write_atomic(path, "old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["scores.csv"]


@pytest.mark.parametrize("content", ["ä\r\nb\n", b"\x00\xff\r\n", ""])
def test_write_atomic_content_is_on_disk(tmp_path, content):
    path = tmp_path / "new" / "folder" / "file"
    write_atomic(path, content)
    wanted = content.encode() if isinstance(content, str) else content
    assert path.read_bytes() == wanted and file_sha256(path) == hashlib.sha256(wanted).hexdigest()
    assert os.listdir(path.parent) == ["file"]


def test_write_json_keeps_unicode_and_order(tmp_path):
    write_json(tmp_path / "a.json", {"z": "ä", "a": [1, 0.1]})
    assert list(read_json(tmp_path / "a.json").items()) == [("z", "ä"), ("a", [1, 0.1])]
    assert "ä" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "is missing"), ("{", "not readable JSON"), (b"\xff\xfe", "not UTF-8 text"), ("", "not readable JSON")],
)
def test_read_json_malformed_file_error_names_it(tmp_path, content, complaint):
    path = tmp_path / "about.json"
    if content is not None:
        write_atomic(path, content)
    with pytest.raises(UserError, match=f"{path}.*{complaint}"):
        read_json(path)


def predictions(probabilities: np.ndarray, classes: list[str], images: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"image": images, **dict(zip(classes, probabilities.T, strict=True))})


def test_write_csv_float32_round_trip_is_exact(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2**31, 40_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = np.concatenate([values[np.isfinite(values)], np.float32([0, 1, 1e-45, 1 / 3, 0.1, 1 - 2**-24])])
    values = values[: len(values) // 4 * 4].reshape(-1, 4)
    images = [f"{number}.png" for number in range(len(values))]
    write_csv(tmp_path / "oof.csv", predictions(values, list("abcd"), images))
    read = read_csv(tmp_path / "oof.csv", ["image", *"abcd"]).set_index("image")
    assert read.index.tolist() == images
    assert np.array_equal(read.to_numpy().astype(np.float32).view(np.uint32), values.view(np.uint32))


def test_read_predictions_zeros_and_ones_are_numbers(tmp_path):
    write_csv(tmp_path / "oof.csv", predictions(np.float32([[1, 0], [0, 1]]), ["a", "b"], ["x", "y"]))
    assert read_predictions(tmp_path / "oof.csv", ["a", "b"]).table.to_numpy().tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("names", [AWKWARD, ["007", "7", "1e5"], ["NA", "null"], ["True", "False"]])
def test_read_csv_names_stay_text(tmp_path, names):
    table = predictions(np.full((len(names), len(names)), 1 / len(names), np.float32), names, names)
    table.insert(1, "label", names)
    write_csv(tmp_path / "oof.csv", table)
    read = read_predictions(tmp_path / "oof.csv", names).table
    assert read.index.tolist() == read["label"].tolist() == read.columns[1:].tolist() == names


def test_write_csv_line_endings_are_newlines(tmp_path):
    write_csv(tmp_path / "a.csv", pd.DataFrame({"image": ["x"], "a": [0.5]}))
    assert (tmp_path / "a.csv").read_bytes() == b"image,a\nx,0.5\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("image,label,a,b\nx,a,1,0\nx,a,1,0\n", "has image x twice"),
        ("image,label,b,a\nx,a,1,0\n", r"has other classes \(b instead of a\)"),
        ("image,label,a\nx,a,1\n", r"has other classes \(1 instead of 2\)"),
        ("image,label,a,b,c\nx,a,1,0,0\n", r"has other classes \(3 instead of 2\)"),
        ("label,a,b\na,1,0\n", "must begin with the columns image, and begins with label"),
        ("image,a,b\nx,1,\n", "a probability that is not a number"),
        ("image,a,b\nx,1\n", "a probability that is not a number"),
        ("image,a,b\nx,nan,1\n", "a probability that is not a number"),
        ("image,a,b\nx,much,1\n", "a probability that is not a number"),
        ("image,a,b\nx,0.5,0.25,0.25\n", "rows are longer than its header"),
        ("image,a,b\nx,1,0\ny,1,0,0\n", "not a readable CSV"),
        ('image,a,b\n"x,1,0\n', "not a readable CSV"),
        (b"image,a,b\n\xff\xfe,1,0\n", "not a readable CSV"),
        ("", "not a readable CSV"),
        ("\n\n", "not a readable CSV: it is empty"),
        ("image,a,b\nx\0y,1,0\n", "a NUL character"),
        ("image,a,b,a\nx,1,0,1\n", "has the column a twice"),
        ("image,a,b,,\nx,1,0,1,1\n", "has the column  twice"),
        ("image,a,\nx,1,0\n", "its header cannot be read"),
        ("image,a,b" + ",c" * 100_000 + "\n", "has 100,003 columns, more than the 10,004"),
        ("image,a,b\n" + "x" + ",1" * 100_000 + "\n", "rows are longer than its header"),
        ("image,a,b\nx,1,0\ny" + ",1" * 100_000 + "\n", "not a readable CSV"),
        ("image,a,b\n" + "x" * 5_000_000 + ",1,0\n", "a line of 4,194,304 bytes"),
        ("x" * 5_000_000, "a line of 4,194,304 bytes"),
        ('"' + "x" * 200_000 + "\n", "not a readable CSV"),
        ('image,a,b\n"x"y"z",1,0\n"', "not a readable CSV"),
        (None, "is missing"),
    ],
)
def test_read_predictions_malformed_table_error_names_it(tmp_path, content, complaint):
    path = tmp_path / "oof.csv"
    if content is not None:
        write_atomic(path, content)
    with pytest.raises(UserError, match=f"{path}.*{complaint}"):
        read_predictions(path, ["a", "b"])


def test_read_csv_larger_than_its_limit_is_refused_unread(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_text("image,label,group,fold\n")
    os.truncate(path, 2**40)  # without blocks on the disk
    with pytest.raises(UserError, match="more than the 1,073,741,824 that are read"):
        read_csv(path, FOLDS_COLUMNS)


def test_read_csv_marked_quoted_table_with_windows_newlines_is_read(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_bytes(b'\xef\xbb\xbf"image",label,"gr,oup"\r\n\r\n"a,\nb",x,3\r\n')
    table = read_csv(path, ["image", "label"])
    assert table.columns.tolist() == ["image", "label", "gr,oup"] and table.iloc[0].tolist() == ["a,\nb", "x", 3]


def test_read_csv_wrong_columns_is_an_error(tmp_path):
    path = Path(tmp_path / "folds.csv")
    write_atomic(path, "image,label,fold\nx,a,0\n")
    assert read_csv(path, ["image", "label"])["fold"].tolist() == [0]
    with pytest.raises(UserError, match="must begin with the columns image,label,group, and begins with image,label,f"):
        read_csv(path, ["image", "label", "group"])
