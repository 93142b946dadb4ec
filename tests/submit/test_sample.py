"""A submission has the form of the sample file, byte for byte where the answers are the same, or is not written."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp.data.scan import Dataset, Image
from comp.errors import UserError
from comp.submit.ledger import Event, append, read
from comp.submit.manifest import find_submission, manifest_path, read_manifest, submission_id
from comp.submit.sample import fill_table, load_sample
from comp.submit.submission_table import SubmissionTable, read_table
from comp.submit.write import write_submission

CLASSES, NUMBERS = ("mono", "baso", "eos"), (2, 7, 10)
IMAGES = ("img_1.jpg", "img_2.jpg", "img_10.jpg", "img_11.jpg")
PREDICTED = (0, 2, 1, 2)  # the class index of each image
PREDICTIONS = pd.DataFrame(np.where(np.arange(3) == np.array(PREDICTED)[:, None], 0.5, 0.25), IMAGES, list(CLASSES))
LEDGER = Path("submissions/ledger.csv")
MANIFEST = {"competition": {"name": "cells", "root": "input/cells", "ledger": str(LEDGER)}}

# samples that contain our own predictions: filling them must give the same bytes
NAMES = "image,label\nimg_10.jpg,baso\nimg_1.jpg,mono\nimg_2.jpg,eos\nimg_11.jpg,eos\n"
PROBABILITIES = "img,eos,mono,baso\nimg_11,0.5,0.25,0.25\nimg_1,0.25,0.5,0.25\n"
SAMPLES = {
    "names.csv": NAMES,
    "numbers of the class map.csv": "id,target\nimg_10.jpg,7\nimg_1.jpg,2\nimg_2.jpg,10\nimg_11.jpg,10\n",
    "ids without extension.csv": "Id,Category\nimg_2,10\nimg_11,10\nimg_1,2\n",
    "a probability per name.csv": PROBABILITIES,
    "a probability per number.csv": "img,10,2,7\nimg_11,0.5,0.25,0.25\nimg_1,0.25,0.5,0.25\n",
    "Windows newlines.csv": NAMES.replace("\n", "\r\n"),
    "a byte order mark.csv": "\ufeff" + PROBABILITIES,
    "Windows newlines and a byte order mark.csv": "\ufeff" + NAMES.replace("\n", "\r\n"),
    "map of names.json": json.dumps({"img_10.jpg": "baso", "img_1.jpg": "mono"}, indent=1),
    "map of numbers.json": json.dumps({"img_10": 7, "img_1": 2}, indent=1),
    "map of numbers as text.json": json.dumps({"img_10": "7", "img_1": "2"}, indent=1),
    "records of names.json": json.dumps([{"id": "img_10", "label": "baso"}, {"id": "img_2", "label": "eos"}], indent=1),
    "records of numbers.json": json.dumps([{"id": "img_10", "label": 7}, {"id": "img_2", "label": 10}], indent=1),
    "records of probabilities.json": json.dumps([{"id": "img_2", "eos": 0.5, "baso": 0.25, "mono": 0.25}], indent=1),
}


def make_dataset(root: Path = Path("input/cells"), images=IMAGES, classes=CLASSES, numbers=NUMBERS) -> Dataset:
    return Dataset(root, classes, numbers, (), tuple(Image(id, root / "test" / id) for id in images), "name")


@pytest.fixture
def sample(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str, suffix: str = "csv") -> Path:
        path = Path(f"sample_submission.{suffix}")
        path.write_bytes(text.encode())
        return path

    return write


@pytest.mark.parametrize("case", SAMPLES)
def test_fill_table_same_labels_give_same_bytes(sample, case):
    path = sample(SAMPLES[case], case.rpartition(".")[2])
    written = write_submission("mine", fill_table(read_table(path), PREDICTIONS, make_dataset()), MANIFEST)
    assert written.suffix == path.suffix and written.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("case", SAMPLES)
def test_fill_table_other_labels_keep_ids_and_layout(sample, case):
    sample_table = read_table(sample(SAMPLES[case], case.rpartition(".")[2]))
    reversed_predictions = PREDICTIONS.set_axis(PREDICTIONS.index[::-1])
    path = write_submission("mine", fill_table(sample_table, reversed_predictions, make_dataset()), MANIFEST)
    read = read_table(path)
    assert read.rows != sample_table.rows
    assert (read.ids, read.columns, read.newline, read.bom) == (
        sample_table.ids,
        sample_table.columns,
        sample_table.newline,
        sample_table.bom,
    )


@pytest.mark.parametrize("case", SAMPLES)
def test_fill_table_order_of_predictions_has_no_effect(sample, case):
    sample_table = read_table(sample(SAMPLES[case], case.rpartition(".")[2]))
    shuffled = PREDICTIONS.sample(frac=1, random_state=1)[list(CLASSES[::-1])]
    assert fill_table(sample_table, shuffled, make_dataset()) == fill_table(sample_table, PREDICTIONS, make_dataset())


def test_fill_table_numeric_ids_stay_numbers(sample):
    text = json.dumps([{"id": 2, "label": 10}, {"id": 1, "label": 2}], indent=1)
    table = PREDICTIONS.set_axis(["1.jpg", "2.jpg", "10.jpg", "11.jpg"])
    dataset = make_dataset(images=table.index)
    path = write_submission("mine", fill_table(read_table(sample(text, "json")), table, dataset), MANIFEST)
    assert path.read_text() == text


def test_fill_table_class_names_like_numbers_stay_text(sample):
    dataset = make_dataset(classes=("007", "1e5", "NaN"), numbers=(0, 1, 2))
    text = json.dumps({"img_1": "007", "img_2": "NaN", "img_10": "1e5"}, indent=1)
    table = PREDICTIONS.set_axis(["007", "1e5", "NaN"], axis=1)
    assert (
        write_submission("mine", fill_table(read_table(sample(text, "json")), table, dataset), MANIFEST).read_text()
        == text
    )


def test_fill_table_ids_with_special_characters_are_kept(sample):
    names = ("a,b.jpg", "zelle_ä.jpg", 'say "hi".jpg', "x.jpg")
    text = 'image,label\n"a,b.jpg",mono\nzelle_ä.jpg,eos\n"say ""hi"".jpg",baso\nx.jpg,eos\n'
    path = write_submission(
        "mine",
        fill_table(read_table(sample(text)), PREDICTIONS.set_axis(list(names)), make_dataset(images=names)),
        MANIFEST,
    )
    assert path.read_bytes() == text.encode()


def test_fill_table_probabilities_keep_float32(sample):
    values = np.random.default_rng(0).uniform(0.1, 0.125, (4, 3)).astype(np.float32)  # where 8 digits are too few
    sample_table = read_table(sample("id,mono,baso,eos\n" + "".join(f"{image},0,0,0\n" for image in IMAGES)))
    table = pd.DataFrame(values, IMAGES, list(CLASSES))
    read = read_table(write_submission("mine", fill_table(sample_table, table, make_dataset()), MANIFEST))
    assert np.array_equal(np.array([row[1:] for row in read.rows], np.float32), values)


# ---- refused samples ----


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("img_1,mono\nimg_3,mono\n", "1 ids without a test image, such as img_3;"),
        ("img_1.png,mono\n", "1 ids without a test image, such as img_1.png;"),
        ("img_1,?\nimg_2,?\n", r"labels \(\?\) are neither class names nor class numbers"),
        ("img_1,\nimg_2,\n", "neither class names nor class numbers"),
        ("img_1,mono\nimg_2,Eos\n", "neither class names nor class numbers"),
        ("img_1,0.0\n", "neither class names nor class numbers"),
    ],
)
def test_fill_table_unclear_ids_or_labels_are_refused(sample, rows, message):
    with pytest.raises(UserError, match=message):
        fill_table(read_table(sample(f"id,label\n{rows}")), PREDICTIONS, make_dataset())


@pytest.mark.parametrize("columns", ["mono,baso", "mono,baso,neutro", "2,7,8", "mono,7,eos"])
def test_fill_table_unknown_columns_are_refused(sample, columns):
    row = ",".join("0" for _ in columns.split(","))
    with pytest.raises(UserError, match=r"columns \(.*\) are not the classes \(mono, baso, eos\)"):
        fill_table(read_table(sample(f"id,{columns}\nimg_1,{row}\n")), PREDICTIONS, make_dataset())


def test_fill_table_ambiguous_id_is_refused(sample):
    table = PREDICTIONS.set_axis(["a.jpg", "a.png", "b.jpg", "c.jpg"])
    with pytest.raises(UserError, match=r"such as a \(two have that name\)"):
        fill_table(read_table(sample("id,label\na,mono\n")), table, make_dataset(images=table.index))
    unambiguous = read_table(sample("id,label\na.png,mono\nb,mono\n"))
    assert fill_table(unambiguous, table, make_dataset(images=table.index)).rows[0] == ("a.png", "eos")


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("", "csv"),
        ("id,label\n", "csv"),
        ("id\nimg_1\n", "csv"),
        ("id,label\nimg_1,0,1\n", "csv"),
        ("id,label\nimg_1\n", "csv"),
        ("id,label\nimg_1,0\nimg_1,0\n", "csv"),
        ("[" * 100_000, "json"),
        ("{", "json"),
        ("{}", "json"),
        ("[]", "json"),
        ("3", "json"),
        ('["img_1"]', "json"),
        ('[{"id": "img_1", "label": 0}, {"id": "img_2"}]', "json"),
    ],
)
def test_read_table_invalid_file_is_named(sample, text, suffix):
    path = sample(text, suffix)
    with pytest.raises(UserError, match=str(path)):
        read_table(path)


# ---- writing ----


def test_write_submission_manifest_has_identity_and_hash(sample):
    path = write_submission(
        "a/b", fill_table(read_table(sample(NAMES)), PREDICTIONS, make_dataset()), {**MANIFEST, "members": ["x"]}
    )
    manifest = read_manifest(path)
    assert path == Path("submissions/a/b.csv") and manifest_path(path) == Path("submissions/a/b.json")
    assert datetime.fromisoformat(manifest.pop("created")).tzinfo is not None
    assert manifest == {
        "schema": 1,
        "id": "a/b",
        "file": "b.csv",
        "members": ["x"],
        **MANIFEST,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_write_submission_ledger_has_one_event_per_content(sample):
    sample_table, other = read_table(sample(NAMES)), read_table(sample(NAMES.replace("img_1.jpg,mono\n", "")))
    oof = {"metric": "accuracy", "score": 0.9, "interval": [0.8, 0.95]}
    path = write_submission("mine", fill_table(sample_table, PREDICTIONS, make_dataset()), {**MANIFEST, "oof": oof})
    write_submission("mine", fill_table(sample_table, PREDICTIONS, make_dataset()), MANIFEST)
    (event,) = read(LEDGER)
    assert event == Event(
        "mine",
        event.time,
        "written",
        hashlib.sha256(path.read_bytes()).hexdigest(),
        competition="cells",
        file="submissions/mine.csv",
        metric="accuracy",
        cv=0.9,
        cv_low=0.8,
        cv_high=0.95,
    )
    write_submission("mine", fill_table(other, PREDICTIONS, make_dataset()), {**MANIFEST, "oof": None})
    write_submission("mine", fill_table(sample_table, PREDICTIONS, make_dataset()), MANIFEST)
    assert [event.event for event in read(LEDGER)] == ["written"] * 3


def test_write_submission_sent_file_is_not_overwritten(sample):
    sample_table, other = read_table(sample(NAMES)), read_table(sample(NAMES.replace("img_1.jpg,mono\n", "")))
    path = write_submission("mine", fill_table(sample_table, PREDICTIONS, make_dataset()), MANIFEST)
    append(LEDGER, Event("mine", "2025-11-21", "sent", read(LEDGER)[0].sha256, competition="cells", file=str(path)))
    before = {file: file.read_bytes() for file in Path("submissions").iterdir()}
    with pytest.raises(UserError, match=r"was sent with another content.*--name"):
        write_submission("mine", fill_table(other, PREDICTIONS, make_dataset()), MANIFEST)
    assert {file: file.read_bytes() for file in Path("submissions").iterdir()} == before
    assert (
        write_submission("mine", fill_table(sample_table, PREDICTIONS, make_dataset()), MANIFEST) == path
    )  # the same content is allowed


@pytest.mark.parametrize("ledger", [str(LEDGER), "runs/demo/ledger.csv"])
def test_write_submission_path_of_ledger_is_refused(sample, ledger):
    manifest = {"competition": {**MANIFEST["competition"], "ledger": ledger}}
    with pytest.raises(UserError, match="is the path of the ledger"):
        write_submission("ledger", fill_table(read_table(sample(NAMES)), PREDICTIONS, make_dataset()), manifest)
    assert not LEDGER.exists()


@pytest.mark.parametrize("writes", range(3))
def test_write_submission_killed_after_any_write_is_completed_by_next(sample, writes, monkeypatch):
    filled = fill_table(read_table(sample(NAMES)), PREDICTIONS, make_dataset())
    remaining, rename = iter([True] * writes), os.replace

    def interrupt(*names):
        if not next(remaining, False):
            raise KeyboardInterrupt
        rename(*names)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupt)
        write_submission("mine", filled, MANIFEST)
    assert {file.name for file in Path("submissions").glob("mine*")} == set(["mine.json", "mine.csv"][:writes])
    path = write_submission("mine", filled, MANIFEST)
    assert read_manifest(path)["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == read(LEDGER)[0].sha256


def test_write_submission_broken_ledger_writes_nothing(sample):
    LEDGER.parent.mkdir()
    LEDGER.write_text("<<<<<<< HEAD\n")
    with pytest.raises(UserError, match="line 1 is not an event"):
        write_submission("mine", fill_table(read_table(sample(NAMES)), PREDICTIONS, make_dataset()), MANIFEST)
    assert not Path("submissions/mine.csv").exists()


def test_find_submission_accepts_path_and_id(sample):
    path = write_submission("a/b.c", fill_table(read_table(sample(NAMES)), PREDICTIONS, make_dataset()), MANIFEST)
    assert find_submission("a/b.c") == find_submission("submissions/a/b.c.csv") == path
    assert submission_id(path) == submission_id(path.absolute()) == "a/b.c" and submission_id(Path("/x/y.csv")) == "y"
    with pytest.raises(UserError, match=r"there is no submission a/b; did you mean a/b.c\?"):
        find_submission("a/b")


def test_write_submission_json_has_manifest_under_other_name(sample):
    filled = fill_table(read_table(sample('{"img_1": 0}', "json")), PREDICTIONS, make_dataset())
    path = write_submission("mine", filled, {**MANIFEST, "members": [1]})
    assert json.loads(path.read_text()) == {"img_1": 2}
    assert read_manifest(path)["members"] == [1] and Path("submissions/mine.about.json").is_file()


def test_write_submission_that_does_not_read_back_fails(sample):
    with pytest.raises(UserError, match="does not read back"):
        write_submission("mine", SubmissionTable(("id", "label"), (("a\r\nb", "x"),), newline="\n"), MANIFEST)


def test_load_sample_without_file_is_image_and_class_name(tmp_path):
    sample_table = load_sample(make_dataset(tmp_path))
    assert sample_table.columns == ("image", "label") and sample_table.ids == list(IMAGES)
    assert [row[1] for row in fill_table(sample_table, PREDICTIONS, make_dataset()).rows] == [
        "mono",
        "eos",
        "baso",
        "eos",
    ]


@pytest.mark.parametrize(
    ("name", "text"), [("sample_submission.csv", NAMES), ("sample_submission.json", '{"img_10.jpg": 0}')]
)
def test_load_sample_reads_file_beside_train_and_test(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert load_sample(make_dataset(tmp_path)).ids[0] == "img_10.jpg"


def test_fill_table_id_may_be_path_below_test(sample):
    root = Path("input/cells")
    dataset = Dataset(root, CLASSES, NUMBERS, (), (Image("0.png", root / "test/a/0.png"),), "name")
    table = pd.DataFrame([[0.2, 0.5, 0.3]], ["0.png"], list(CLASSES))
    for id in ("a/0.png", "a/0", "0.png", "0"):
        filled = fill_table(SubmissionTable(("id", "label"), ((id, CLASSES[0]),)), table, dataset)
        assert filled.rows == ((id, CLASSES[1]),)
