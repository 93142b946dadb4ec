"""A submission has the format of the sample, byte for byte where the labels are the same."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp.data.scan import Dataset, Image
from comp.errors import UserError
from comp.records.source import DataSource
from comp.submit.sample import check_sample, describe_answer, fill_table, load_sample, match_rows, sample_path
from comp.submit.submission_table import SubmissionTable, read_table
from comp.submit.write import write_submission
from comp.tasks import single_label
from tests.submit.example import (
    CLASSES,
    IMAGES,
    MANIFEST,
    NAMES,
    NUMBERS,
    PREDICTIONS,
    PROBABILITIES,
    SAMPLES,
    make_dataset,
)


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


def test_fill_table_json_ids_of_other_alphabets_are_kept_as_they_are(sample):
    text = '{\n "zelle_ä": "mono",\n "細胞": "eos"\n}'
    images = ("zelle_ä.jpg", "細胞.jpg", "x.jpg", "y.jpg")
    filled = fill_table(
        read_table(sample(text, "json")), PREDICTIONS.set_axis(list(images)), make_dataset(images=images)
    )
    assert write_submission("mine", filled, MANIFEST).read_bytes() == text.encode()


def test_fill_table_probabilities_keep_float32(sample):
    values = np.random.default_rng(0).uniform(0.1, 0.125, (4, 3)).astype(np.float32)  # where 8 digits are too few
    sample_table = read_table(sample("id,mono,baso,eos\n" + "".join(f"{image},0,0,0\n" for image in IMAGES)))
    table = pd.DataFrame(values, IMAGES, list(CLASSES))
    read = read_table(write_submission("mine", fill_table(sample_table, table, make_dataset()), MANIFEST))
    assert np.array_equal(np.array([row[1:] for row in read.rows], np.float32), values)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("img_1,mono\nimg_3,mono\n", "1 ids .* have no test image, or not all of theirs, such as img_3;"),
        ("img_1.png,mono\n", "1 ids .* have no test image, or not all of theirs, such as img_1.png;"),
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
    with pytest.raises(UserError, match=r"a may be .*a.jpg or .*a.png"):
        fill_table(read_table(sample("id,label\na,mono\n")), table, make_dataset(images=table.index))
    unambiguous = read_table(sample("id,label\na.png,mono\nb,mono\n"))
    assert fill_table(unambiguous, table, make_dataset(images=table.index)).rows[0] == ("a.png", "eos")


def test_check_sample_that_cannot_be_filled_is_refused_before_predicting(sample):
    assert check_sample(read_table(sample("id,label\nimg_1,mono\n")), make_dataset()).ids == ("img_1.jpg",)
    for text in ("id,label\nimg_1,?\n", "id,mono,baso\nimg_1,0,0\n"):
        with pytest.raises(UserError, match="the sample submission's"):
            check_sample(read_table(sample(text)), make_dataset())


def test_load_sample_that_is_no_file_is_not_ignored(tmp_path):
    """Another format is written without a sample."""
    os.mkfifo(tmp_path / "sample_submission.csv")
    with pytest.raises(UserError, match=r"sample_submission\.csv"):
        load_sample(make_dataset(tmp_path))


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
    dataset = Dataset(root, single_label(CLASSES), NUMBERS, (), (Image("0.png", root / "test/a/0.png"),), "name")
    table = pd.DataFrame([[0.2, 0.5, 0.3]], ["0.png"], list(CLASSES))
    for id in ("a/0.png", "a/0", "0.png", "0"):
        filled = fill_table(SubmissionTable(("id", "label"), ((id, CLASSES[0]),)), table, dataset)
        assert filled.rows == ((id, CLASSES[1]),)


@pytest.mark.parametrize(
    ("keys", "text", "line"),
    [
        ({}, NAMES, "4 rows, each with one of 3 classes (mono, baso, eos) (data.task=single, train.metric=accuracy)"),
        (
            {"metric": "map@3"},
            NAMES,
            "4 rows, each with the 3 most probable of 3 classes, with spaces between them "
            "(data.task=single, train.metric=map@3)",
        ),
        (
            {"answer": "best:2"},
            NAMES,
            "4 rows, each with the 2 most probable of 3 classes, with spaces between them (submit.answer)",
        ),
        (
            {"metric": "log_loss"},
            PROBABILITIES,
            "2 rows, each with the probability of each of 3 classes (mono, baso, eos) "
            "(data.task=single, train.metric=log_loss)",
        ),
    ],
)
def test_describe_answer_says_what_a_row_holds_and_why(tmp_path, keys, text, line):
    (tmp_path / "sample_submission.csv").write_text(text)
    dataset = replace(make_dataset(tmp_path), source=DataSource(str(tmp_path), **keys))
    assert describe_answer(dataset) == f"a submission: {line}"


def test_describe_answer_without_test_images_or_with_a_sample_that_cannot_be_filled(tmp_path):
    assert describe_answer(make_dataset(tmp_path, images=())) == "there are no test images, so no submission"
    (tmp_path / "sample_submission.csv").write_text("id,label\nimg_1,?\n")
    with pytest.raises(UserError, match="neither class names nor class numbers"):
        describe_answer(make_dataset(tmp_path))


def test_sample_path_is_that_of_the_config_or_of_the_usual_names(tmp_path):
    assert sample_path(tmp_path) is None
    with pytest.raises(UserError, match=r"there is no sample submission .*mine\.csv; fix submit\.sample"):
        sample_path(tmp_path, "mine.csv")
    for name in ("mine.csv", "sample_submission.json", "sample_submission.csv"):
        (tmp_path / name).touch()
        assert sample_path(tmp_path, "mine.csv") == tmp_path / "mine.csv"
        assert sample_path(tmp_path) == (None if name == "mine.csv" else tmp_path / name)


def test_match_rows_finds_images_in_the_folders_of_the_source(tmp_path):
    images = tuple(Image(f"{name}.png", tmp_path / "a/b" / f"{name}.png") for name in ("x", "y"))
    dataset = replace(make_dataset(tmp_path), test=images, source=DataSource(str(tmp_path), test=("a",)))
    for x, y in (("x", "y"), ("b/x", "b/y.png"), ("a/b/x.png", "a/b/y")):
        rows, line = match_rows(SubmissionTable(("id", "label"), ((y, "mono"), (x, "mono"))), dataset)
        assert rows.ids == ("y.png", "x.png") and line == ""
