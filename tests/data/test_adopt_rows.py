"""Adopting a competition whose rows have several images: the columns that say which, and the evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from comp.data.row_numbers import RowNumbers
from comp.errors import UserError
from comp.submit.answers import choose_answer
from comp.submit.answers.classes import ClassAnswer
from comp.submit.format_checks import format_issues
from comp.submit.label_format import LabelFormat
from comp.submit.sample import fill_table, load_sample
from comp.submit.submission_table import read_table as read_submission
from comp.submit.submission_table import read_table_unchecked, to_bytes

HEADER = "patient_id,image_id,laterality,cancer"
TEST_HEADER = "patient_id,image_id,laterality,prediction_id"


def draw(competition, train: list[str], test: list[str], header: str = HEADER, test_header: str = TEST_HEADER) -> None:
    """Draw an image per row of the tables, whose second column names it; the last column of `test` has the row."""
    competition.table("train.csv", header, *train)
    competition.table("test.csv", test_header, *test)
    for folder, rows in (("train", train), ("test", test)):
        competition.images(*(f"{folder}/{row.split(',')[1]}.png" for row in rows))
    ids = dict.fromkeys(row.rpartition(",")[2] for row in test)
    competition.table("sample_submission.csv", "prediction_id,cancer", *(f"{id},0" for id in ids))


TRAIN = ["1,10,L,0", "1,11,L,0", "1,12,R,1", "2,13,L,0", "2,14,R,0"]
TEST = ["7,20,L,7_L", "7,21,L,7_L", "7,22,R,7_R"]


def test_find_row_columns_that_spell_the_ids(competition):
    draw(competition, TRAIN, TEST)
    conclusion = competition.adopt()
    assert (conclusion.source.ids, conclusion.source.row) == ("test.csv:prediction_id", ("patient_id", "laterality"))
    assert [image.row for image in conclusion.dataset.train] == ["1_L", "1_L", "1_R", "2_L", "2_R"]
    assert competition.evidence("data.row") == "7_L joins 7 and L; 4 rows of 1 to 2 images"


def test_find_row_column_of_the_ids_itself(competition):
    train = [f"{row},{row.split(',')[0]}{row.split(',')[2]}" for row in TRAIN]
    draw(competition, train, TEST, f"{HEADER},prediction_id")
    assert competition.adopt().source.row == ("prediction_id",)


def test_find_row_columns_with_other_values_for_each_id(competition):
    draw(competition, TRAIN, [row.replace("7_L", "x").replace("7_R", "y") for row in TEST])
    assert competition.adopt().source.row == ("patient_id", "laterality")  # not the side: R has two labels in training
    assert competition.evidence("data.row").startswith("each id has its own values; 4 rows")


def test_find_row_two_explanations_are_ambiguous(competition):
    draw(competition, ["1,10,L,0", "1,11,L,0", "2,12,R,1", "2,13,R,1"], ["7,20,L,x", "7,21,L,x", "8,22,R,y"])
    with pytest.raises(
        UserError, match=r"follow from patient_id or from laterality; add --row patient_id or --row lat"
    ):
        competition.adopt()
    assert competition.adopt(row=("none",)).source.row == ()
    assert competition.adopt(row=("patient_id", "laterality"), pool="max").dataset.task.spec.pool == "max"


def test_find_row_without_an_explanation_is_printed(competition):
    draw(competition, [row.replace("L", "l") for row in TRAIN], TEST, "person,image_id,side,cancer")
    assert competition.adopt().source.row == () and competition.evidence("data.row").startswith("CV IS BY IMAGE")
    with pytest.raises(UserError, match=r"has no column patient_id.*--row"):
        competition.adopt(row=("patient_id",))


def test_find_row_one_image_per_id_needs_no_row(competition):
    draw(competition, TRAIN, [TEST[0], TEST[2]])
    assert competition.adopt().source.row == () and not competition.evidence("data.row")


# ---- labels without images, and images without labels ----


def test_allow_missing_is_typed_and_leaves_out(competition):
    competition.labelled("id,target", ["0", "1", "0", "1"], "0")
    (competition.root / "train" / "a1.png").unlink()
    competition.images("train/extra.png")
    (competition.root / "test" / "b1.png").unlink()
    with pytest.raises(UserError, match=r"needs 1 of 2 images that no file has, such as b1; add them, or --allow"):
        competition.adopt()
    conclusion = competition.adopt(allow_missing=True)
    assert conclusion.source.allow_missing and (len(conclusion.dataset.train), len(conclusion.dataset.test)) == (3, 1)
    assert len(conclusion.dataset.left_out) == 2 and conclusion.dataset.left_out[0].startswith("1 images of ")


def test_unlabelled_training_images_are_an_error_unless_other_labels_name_them(competition):
    competition.images(*(f"train_val/{name}.jpg" for name in "abcdv"), "test/t.jpg")
    competition.table("sample_submission.csv", "id,predicted", "t,1")
    images = [{"id": name, "file_name": f"train_val/{name}.jpg"} for name in "abcdv"]
    labels = [{"image_id": name, "category_id": "abcdv".index(name) % 3} for name in "abcdv"]
    coco = {"categories": [{"id": 0}]}
    competition.json("train.json", {**coco, "images": images[:4], "annotations": labels[:4]})
    with pytest.raises(UserError, match=r"1 images below .*train_val have no label in train.json, such as train_val/v"):
        competition.adopt()
    competition.json("val.json", {**coco, "images": images[4:], "annotations": labels[4:]})
    conclusion = competition.adopt()
    assert conclusion.source.allow_missing and len(conclusion.dataset.train) == 4
    assert competition.evidence("data.allow_missing").startswith("1 images below data.train are those of the other")


# ---- row numbers before the ids ----


@pytest.mark.parametrize(("name", "numbers"), [("", ("0", "1")), ("Unnamed: 0", ("7", "3")), ("index", ("1", "2"))])
def test_row_numbers_before_the_ids_are_kept_in_the_submission(competition, name, numbers):
    competition.labelled("Id,Category", ["x", "y", "z"], "x")
    sample = competition.root / "sample_submission.csv"
    competition.table(sample.name, f"{name},Id,Category", *(f"{n},b{i},x" for i, n in enumerate(numbers)))
    competition.table("train.csv", ",Id,Category", *(f"{n},a{n},{label}" for n, label in enumerate("xyz")))
    conclusion = competition.adopt()
    assert (conclusion.source.image, conclusion.source.label) == ("Id", ("Category",))
    table = load_sample(conclusion.dataset)
    predictions = pd.DataFrame(np.eye(3)[:2], ["b0.png", "b1.png"], ["x", "y", "z"])
    filled = fill_table(table, predictions, conclusion.dataset)
    expected = f"{name},Id,Category\n{numbers[0]},b0,x\n{numbers[1]},b1,y\n"
    assert (table.columns, table.ids, to_bytes(filled).decode()) == (("Id", "Category"), ["b0", "b1"], expected)
    answer = choose_answer(table, conclusion.dataset)
    assert not list(format_issues(filled, table, answer))
    plain = replace(filled, row_numbers=None)
    assert "its columns are Id,Category, and must be" in next(format_issues(plain, table, answer)).text
    swapped = replace(filled, row_numbers=RowNumbers(name, numbers[::-1]))
    assert "are not the sample's" in next(format_issues(swapped, table, answer)).text


@pytest.mark.parametrize(
    "sample", ["Id,x,y\n0,0.5,0.5\n", "index,x,y\n0,0.5,0.5\n", "index,Category\n0,x\n", ",Id\n0,a\n"]
)
def test_row_numbers_are_ids_where_no_other_column_can_be(tmp_path, sample):
    (tmp_path / "sample.csv").write_text(sample)
    table = read_submission(tmp_path / "sample.csv")
    assert table.row_numbers is None and table.ids == ["0"] and to_bytes(table).decode() == sample


def test_row_numbers_that_are_none_are_an_error_of_the_check(tmp_path):
    for name, second in (("sample", "1"), ("mine", "0")):
        (tmp_path / f"{name}.csv").write_text(f",Id,Category\n0,a,x\n{second},b,y\n")
    sample, submission = (read_table_unchecked(tmp_path / f"{name}.csv") for name in ("sample", "mine"))
    [issue] = format_issues(submission, sample, ClassAnswer(LabelFormat(("x", "y"), False), ("x", "y")))
    assert issue.severity == "error" and "must have the sample's numbers of the rows" in issue.text


def test_typed_columns_that_no_table_has_name_the_nearest(competition):
    competition.labelled("id,target", ["0", "1", "0", "1"], "0")
    for key, name in (("label", ("taget",)), ("image", "idd"), ("row", ("targets",)), ("group", "targets")):
        with pytest.raises(UserError, match=rf"train.csv has no column .*; did you mean .*\(--{key}\)"):
            competition.adopt(**{key: name})
    competition.table("more.csv", "id,place", "a0,x", "a1,y")
    with pytest.raises(UserError, match=r"none of the 2 tables has a column taget; did you mean target"):
        competition.adopt(label=("taget",))
