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
from comp.submit.sample import SubmissionTable, fill_table, load_sample, read_table
from comp.submit.write import find_submission, manifest_path, read_manifest, submission_id, write_submission

CLASSES, NUMBERS = ("mono", "baso", "eos"), (2, 7, 10)
IMAGES = ("img_1.jpg", "img_2.jpg", "img_10.jpg", "img_11.jpg")
BEST = (0, 2, 1, 2)  # the class called for each image
TABLE = pd.DataFrame(np.where(np.arange(3) == np.array(BEST)[:, None], 0.5, 0.25), IMAGES, list(CLASSES))
LEDGER = Path("submissions/ledger.csv")
NOTE = {"competition": {"name": "cells", "root": "input/cells", "ledger": str(LEDGER)}}

# the sample as it would be with our answers in it: filling it must give the same bytes
NAMES = "image,label\nimg_10.jpg,baso\nimg_1.jpg,mono\nimg_2.jpg,eos\nimg_11.jpg,eos\n"
SHARES = "img,eos,mono,baso\nimg_11,0.5,0.25,0.25\nimg_1,0.25,0.5,0.25\n"
FORMS = {
    "names.csv": NAMES,
    "numbers of the class map.csv": "id,target\nimg_10.jpg,7\nimg_1.jpg,2\nimg_2.jpg,10\nimg_11.jpg,10\n",
    "ids without extension.csv": "Id,Category\nimg_2,10\nimg_11,10\nimg_1,2\n",
    "a probability per name.csv": SHARES,
    "a probability per number.csv": "img,10,2,7\nimg_11,0.5,0.25,0.25\nimg_1,0.25,0.5,0.25\n",
    "newlines of Windows.csv": NAMES.replace("\n", "\r\n"),
    "a byte order mark.csv": "\ufeff" + SHARES,
    "both.csv": "\ufeff" + NAMES.replace("\n", "\r\n"),
    "map of names.json": json.dumps({"img_10.jpg": "baso", "img_1.jpg": "mono"}, indent=1),
    "map of numbers.json": json.dumps({"img_10": 7, "img_1": 2}, indent=1),
    "map of numbers as text.json": json.dumps({"img_10": "7", "img_1": "2"}, indent=1),
    "records of names.json": json.dumps([{"id": "img_10", "label": "baso"}, {"id": "img_2", "label": "eos"}], indent=1),
    "records of numbers.json": json.dumps([{"id": "img_10", "label": 7}, {"id": "img_2", "label": 10}], indent=1),
    "records of probabilities.json": json.dumps([{"id": "img_2", "eos": 0.5, "baso": 0.25, "mono": 0.25}], indent=1),
}


def dataset(root: Path = Path("input/cells"), images=IMAGES, classes=CLASSES, numbers=NUMBERS) -> Dataset:
    return Dataset(root, classes, numbers, (), tuple(Image(id, root / "test" / id) for id in images), "name")


@pytest.fixture
def sample(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str, suffix: str = "csv") -> Path:
        path = Path(f"sample_submission.{suffix}")
        path.write_bytes(text.encode())
        return path

    return write


@pytest.mark.parametrize("form", FORMS)
def test_with_the_same_answers_a_submission_is_the_sample_byte_for_byte(sample, form):
    path = sample(FORMS[form], form.rpartition(".")[2])
    written = write_submission("mine", fill_table(read_table(path), TABLE, dataset()), NOTE)
    assert written.suffix == path.suffix and written.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_other_answers_change_the_answers_and_nothing_else(sample, form):
    asked = read_table(sample(FORMS[form], form.rpartition(".")[2]))
    turned = TABLE.set_axis(TABLE.index[::-1])
    path = write_submission("mine", fill_table(asked, turned, dataset()), NOTE)
    read = read_table(path)
    assert read.rows != asked.rows
    assert (read.ids, read.columns, read.newline, read.bom) == (asked.ids, asked.columns, asked.newline, asked.bom)


@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_predictions_and_of_their_columns_changes_nothing(sample, form):
    asked = read_table(sample(FORMS[form], form.rpartition(".")[2]))
    shuffled = TABLE.sample(frac=1, random_state=1)[list(CLASSES[::-1])]
    assert fill_table(asked, shuffled, dataset()) == fill_table(asked, TABLE, dataset())


def test_ids_that_are_numbers_stay_numbers(sample):
    text = json.dumps([{"id": 2, "label": 10}, {"id": 1, "label": 2}], indent=1)
    table = TABLE.set_axis(["1.jpg", "2.jpg", "10.jpg", "11.jpg"])
    there = dataset(images=table.index)
    path = write_submission("mine", fill_table(read_table(sample(text, "json")), table, there), NOTE)
    assert path.read_text() == text


def test_names_that_look_like_numbers_stay_names(sample):
    odd = dataset(classes=("007", "1e5", "NaN"), numbers=(0, 1, 2))
    text = json.dumps({"img_1": "007", "img_2": "NaN", "img_10": "1e5"}, indent=1)
    table = TABLE.set_axis(["007", "1e5", "NaN"], axis=1)
    assert write_submission("mine", fill_table(read_table(sample(text, "json")), table, odd), NOTE).read_text() == text


def test_an_id_with_a_comma_or_an_umlaut_survives(sample):
    names = ("a,b.jpg", "zelle_ä.jpg", 'say "hi".jpg', "x.jpg")
    text = 'image,label\n"a,b.jpg",mono\nzelle_ä.jpg,eos\n"say ""hi"".jpg",baso\nx.jpg,eos\n'
    path = write_submission(
        "mine", fill_table(read_table(sample(text)), TABLE.set_axis(list(names)), dataset(images=names)), NOTE
    )
    assert path.read_bytes() == text.encode()


def test_probabilities_keep_every_bit_of_float32(sample):
    values = np.random.default_rng(0).uniform(0.1, 0.125, (4, 3)).astype(np.float32)  # where 8 digits are too few
    asked = read_table(sample("id,mono,baso,eos\n" + "".join(f"{image},0,0,0\n" for image in IMAGES)))
    table = pd.DataFrame(values, IMAGES, list(CLASSES))
    read = read_table(write_submission("mine", fill_table(asked, table, dataset()), NOTE))
    assert np.array_equal(np.array([row[1:] for row in read.rows], np.float32), values)


# ---- what is not written ----


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("img_1,mono\nimg_3,mono\n", "1 ids without a test image, such as img_3;"),
        ("img_1.png,mono\n", "1 ids without a test image, such as img_1.png;"),
        ("img_1,?\nimg_2,?\n", r"labels \(\?\) are neither class names nor class numbers"),
        ("img_1,\nimg_2,\n", "neither class names nor class numbers"),
        ("img_1,mono\nimg_2,Eos\n", "neither class names nor class numbers"),
        ("img_1,0.0\n", "neither class names nor class numbers"),
    ],
)
def test_a_sample_whose_ids_or_labels_are_unclear_is_refused(sample, rows, complaint):
    with pytest.raises(UserError, match=complaint):
        fill_table(read_table(sample(f"id,label\n{rows}")), TABLE, dataset())


@pytest.mark.parametrize("columns", ["mono,baso", "mono,baso,neutro", "2,7,8", "mono,7,eos"])
def test_columns_that_are_not_the_classes_are_refused(sample, columns):
    row = ",".join("0" for _ in columns.split(","))
    with pytest.raises(UserError, match=r"columns \(.*\) are not the classes \(mono, baso, eos\)"):
        fill_table(read_table(sample(f"id,{columns}\nimg_1,{row}\n")), TABLE, dataset())


def test_an_id_that_could_be_either_of_two_images_is_refused(sample):
    table = TABLE.set_axis(["a.jpg", "a.png", "b.jpg", "c.jpg"])
    with pytest.raises(UserError, match=r"such as a \(two have that name\)"):
        fill_table(read_table(sample("id,label\na,mono\n")), table, dataset(images=table.index))
    clear = read_table(sample("id,label\na.png,mono\nb,mono\n"))
    assert fill_table(clear, table, dataset(images=table.index)).rows[0] == ("a.png", "eos")


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
def test_a_sample_that_is_none_is_refused_by_name(sample, text, suffix):
    path = sample(text, suffix)
    with pytest.raises(UserError, match=str(path)):
        read_table(path)


# ---- what is written ----


def test_the_note_beside_it_says_how_it_was_made_and_fits_the_file(sample):
    path = write_submission("a/b", fill_table(read_table(sample(NAMES)), TABLE, dataset()), {**NOTE, "members": ["x"]})
    note = read_manifest(path)
    assert path == Path("submissions/a/b.csv") and manifest_path(path) == Path("submissions/a/b.json")
    assert datetime.fromisoformat(note.pop("created")).tzinfo is not None
    assert note == {
        "schema": 1,
        "id": "a/b",
        "file": "b.csv",
        "members": ["x"],
        **NOTE,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_what_is_written_is_in_the_ledger_once_per_content(sample):
    asked, other = read_table(sample(NAMES)), read_table(sample(NAMES.replace("img_1.jpg,mono\n", "")))
    oof = {"metric": "accuracy", "score": 0.9, "interval": [0.8, 0.95]}
    path = write_submission("mine", fill_table(asked, TABLE, dataset()), {**NOTE, "oof": oof})
    write_submission("mine", fill_table(asked, TABLE, dataset()), NOTE)
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
    write_submission("mine", fill_table(other, TABLE, dataset()), {**NOTE, "oof": None})
    write_submission("mine", fill_table(asked, TABLE, dataset()), NOTE)
    assert [event.event for event in read(LEDGER)] == ["written"] * 3


def test_what_was_sent_is_not_overwritten_by_another_content(sample):
    asked, other = read_table(sample(NAMES)), read_table(sample(NAMES.replace("img_1.jpg,mono\n", "")))
    path = write_submission("mine", fill_table(asked, TABLE, dataset()), NOTE)
    append(LEDGER, Event("mine", "2025-11-21", "sent", read(LEDGER)[0].sha256, competition="cells", file=str(path)))
    before = {file: file.read_bytes() for file in Path("submissions").iterdir()}
    with pytest.raises(UserError, match=r"was sent with another content.*--name"):
        write_submission("mine", fill_table(other, TABLE, dataset()), NOTE)
    assert {file: file.read_bytes() for file in Path("submissions").iterdir()} == before
    assert write_submission("mine", fill_table(asked, TABLE, dataset()), NOTE) == path  # the same content is no harm


@pytest.mark.parametrize("ledger", [str(LEDGER), "runs/demo/ledger.csv"])
def test_no_submission_takes_the_ledgers_place(sample, ledger):
    note = {"competition": {**NOTE["competition"], "ledger": ledger}}
    with pytest.raises(UserError, match="is the ledger's place"):
        write_submission("ledger", fill_table(read_table(sample(NAMES)), TABLE, dataset()), note)
    assert not LEDGER.exists()


@pytest.mark.parametrize("writes", range(3))
def test_cut_short_after_any_write_a_file_has_its_note_and_the_same_again_is_whole(sample, writes, monkeypatch):
    filled = fill_table(read_table(sample(NAMES)), TABLE, dataset())
    left, rename = iter([True] * writes), os.replace

    def dying(*names):
        if not next(left, False):
            raise KeyboardInterrupt
        rename(*names)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", dying)
        write_submission("mine", filled, NOTE)
    assert {file.name for file in Path("submissions").glob("mine*")} == set(["mine.json", "mine.csv"][:writes])
    path = write_submission("mine", filled, NOTE)
    assert read_manifest(path)["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == read(LEDGER)[0].sha256


def test_a_broken_ledger_is_told_before_anything_is_written(sample):
    LEDGER.parent.mkdir()
    LEDGER.write_text("<<<<<<< HEAD\n")
    with pytest.raises(UserError, match="line 1 is no event"):
        write_submission("mine", fill_table(read_table(sample(NAMES)), TABLE, dataset()), NOTE)
    assert not Path("submissions/mine.csv").exists()


def test_a_submission_is_found_by_path_or_id(sample):
    path = write_submission("a/b.c", fill_table(read_table(sample(NAMES)), TABLE, dataset()), NOTE)
    assert find_submission("a/b.c") == find_submission("submissions/a/b.c.csv") == path
    assert submission_id(path) == submission_id(path.absolute()) == "a/b.c" and submission_id(Path("/x/y.csv")) == "y"
    with pytest.raises(UserError, match=r"there is no submission a/b; did you mean a/b.c\?"):
        find_submission("a/b")


def test_a_json_submission_has_its_note_under_another_name(sample):
    filled = fill_table(read_table(sample('{"img_1": 0}', "json")), TABLE, dataset())
    path = write_submission("mine", filled, {**NOTE, "members": [1]})
    assert json.loads(path.read_text()) == {"img_1": 2}
    assert read_manifest(path)["members"] == [1] and Path("submissions/mine.about.json").is_file()


def test_what_does_not_read_back_is_not_to_be_sent(sample):
    with pytest.raises(UserError, match="does not read back"):
        write_submission("mine", SubmissionTable(("id", "label"), (("a\r\nb", "x"),), newline="\n"), NOTE)


def test_without_a_sample_the_form_is_image_and_class_name_in_the_order_of_test(tmp_path):
    asked = load_sample(dataset(tmp_path))
    assert asked.columns == ("image", "label") and asked.ids == list(IMAGES)
    assert [row[1] for row in fill_table(asked, TABLE, dataset()).rows] == ["mono", "eos", "baso", "eos"]


@pytest.mark.parametrize(
    ("name", "text"), [("sample_submission.csv", NAMES), ("sample_submission.json", '{"img_10.jpg": 0}')]
)
def test_the_sample_lies_beside_train_and_test(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert load_sample(dataset(tmp_path)).ids[0] == "img_10.jpg"


def test_an_id_may_be_the_path_of_an_image_whose_own_id_is_its_name(sample):
    root = Path("input/cells")
    nested = Dataset(root, CLASSES, NUMBERS, (), (Image("0.png", root / "test/a/0.png"),), "name")
    table = pd.DataFrame([[0.2, 0.5, 0.3]], ["0.png"], list(CLASSES))
    for id in ("a/0.png", "a/0", "0.png", "0"):
        filled = fill_table(SubmissionTable(("id", "label"), ((id, CLASSES[0]),)), table, nested)
        assert filled.rows == ((id, CLASSES[1]),)
