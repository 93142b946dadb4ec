"""The content of a row of a submission: chosen from task, metric and sample, written, and checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp.data.scan import Dataset, Image
from comp.errors import UserError
from comp.records.source import DataSource
from comp.records.task import TaskSpec
from comp.submit.answers import choose_answer
from comp.submit.sample import check_sample, fill_table, match_rows
from comp.submit.submission_table import SubmissionTable
from comp.tasks import make_task

IDS = ("1", "2", "3")
ROOT = Path("input/x")


def dataset(spec: TaskSpec, numbers=(), **source) -> Dataset:
    test = tuple(Image(f"{id}.png", ROOT / "test" / f"{id}.png") for id in IDS)
    return Dataset(
        ROOT,
        make_task(spec),
        numbers or tuple(range(len(spec.columns))),
        (),
        test,
        "name",
        DataSource(str(ROOT), **source),
    )


def sample(*values: str, columns=("id", "target")) -> SubmissionTable:
    return SubmissionTable(
        columns, tuple((id, *([value] * (len(columns) - 1))) for id, value in zip(IDS, values, strict=True))
    )


def fill(data: Dataset, table: SubmissionTable, predictions) -> list[str]:
    frame = pd.DataFrame(predictions, [image.id for image in data.test], list(data.classes))
    return [",".join(row[1:]) for row in fill_table(table, frame, data).rows]


SINGLE = TaskSpec("single", ("a", "b", "c"))
BINARY = TaskSpec("binary", ("0", "1"))
YES = np.array([[0.9, 0.1], [0.25, 0.75], [0.5, 0.5]])
THREE = np.array([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])


@pytest.mark.parametrize("placeholder", ["0", "0.5", "", "nonsense"])
def test_binary_under_a_ranking_metric_is_a_probability_whatever_the_sample_holds(placeholder):
    data = dataset(BINARY, metric="auc", task="binary")
    assert fill(data, sample(*[placeholder] * 3), YES) == ["0.1", "0.75", "0.5"]


def test_binary_under_accuracy_is_a_label_and_answer_overrides():
    assert fill(dataset(BINARY, metric="accuracy"), sample("0", "0", "0"), YES) == ["0", "1", "0"]
    assert fill(dataset(BINARY, metric="auc", answer="label"), sample("0", "0", "0"), YES) == ["0", "1", "0"]


def test_two_classes_by_name_stay_names_even_under_a_ranking_metric():
    data = dataset(TaskSpec("single", ("cat", "dog")), metric="auc")
    assert fill(data, sample("cat", "dog", "cat"), YES) == ["cat", "dog", "cat"]


def test_grades_are_labels_and_numbers_are_numbers():
    grades = dataset(TaskSpec("ordinal", ("0", "1", "2")), metric="quadratic_kappa")
    assert fill(grades, sample("0", "0", "0"), THREE) == ["1", "0", "2"]
    number = dataset(TaskSpec("regression", ("target",), low=1, high=100), metric="rmse")
    assert fill(number, sample("38.3", "40", "9"), [[1.5], [20.25], [99]]) == ["1.5", "20.25", "99"]


def test_tags_are_those_of_one_half_and_more():
    data = dataset(TaskSpec("multilabel", ("a", "b", "c"), separator=" "), metric="micro_f1")
    assert fill(data, sample("a", "a", "a"), [[0.6, 0.5, 0.1], [0, 0, 0], [0, 0.2, 0.9]]) == ["a b", "", "c"]


def test_tags_in_columns_need_not_sum_to_one():
    data = dataset(TaskSpec("multilabel", ("a", "b")), metric="auc")
    table = sample("0", "0", "0", columns=("id", "b", "a"))
    assert fill(data, table, [[0.75, 0.5], [0, 0], [1, 1]]) == ["0.5,0.75", "0,0", "1,1"]
    filled = SubmissionTable(("id", "b", "a"), (("1", "0.9", "0.8"), ("2", "0", "0"), ("3", "1", "0.5")))
    assert not list(choose_answer(table, data).issues(filled))


def test_best_classes_are_in_the_order_of_their_probability():
    data = dataset(SINGLE, metric="map@3")
    assert fill(data, sample("a b", "a b", "a b"), THREE) == ["b c a", "a b c", "c a b"]
    two = dataset(SINGLE, metric="accuracy", answer="best:2")
    assert fill(two, sample("x", "x", "x"), THREE) == ["b c", "a b", "c a"]


def test_match_rows_of_a_table_of_ids_have_several_images(tmp_path):
    (tmp_path / "test.csv").write_text("row,image_id\nr1,1\nr1,2\nr2,3\n")
    test = tuple(Image(f"{id}.png", tmp_path / "test" / f"{id}.png") for id in IDS)
    keys = {"metric": "auc", "ids": "test.csv", "image": "image_id"}
    data = Dataset(tmp_path, make_task(BINARY), (0, 1), (), test, "name", DataSource(str(tmp_path), **keys))
    table = SubmissionTable(("row", "target"), (("r1", "0"), ("r2", "0")))
    rows, _ = match_rows(table, data)
    assert rows.ids == ("r1", "r2") and data.task.pool(YES, rows)[:, 1] == pytest.approx([0.425, 0.5])
    frame = pd.DataFrame(data.task.pool(YES, rows), ["r1", "r2"], ["0", "1"])
    assert fill_table(table, frame.iloc[::-1], data).rows == (("r1", "0.425"), ("r2", "0.5"))


@pytest.mark.parametrize("lines", ["r1,1\n", "r1,1\nr2,2\nr2,4\n"])
def test_match_rows_id_without_each_of_its_images_is_an_error(tmp_path, lines):
    (tmp_path / "test.csv").write_text("row,image_id\n" + lines)
    test = tuple(Image(f"{id}.png", tmp_path / "test" / f"{id}.png") for id in IDS)
    source = DataSource(str(tmp_path), metric="auc", ids="test.csv", image="image_id")
    data = Dataset(tmp_path, make_task(BINARY), (0, 1), (), test, "name", source)
    with pytest.raises(UserError, match=r"1 ids .* have no test image, or not all of theirs, such as r2"):
        match_rows(SubmissionTable(("row", "target"), (("r1", "0"), ("r2", "0"))), data)


@pytest.mark.parametrize(
    ("data", "rows", "severity", "text"),
    [
        (dataset(BINARY, metric="auc"), ("0", "1", "1"), "suspicious", "every value is 0 or 1"),
        (dataset(BINARY, metric="auc"), ("0.3", "0.3", "0.3"), "suspicious", "every row has the value 0.3"),
        (dataset(BINARY, metric="auc"), ("0.3", "1.3", "0.1"), "error", "below 0 or above 1: 2"),
        (dataset(BINARY, metric="auc"), ("0.3", "yes", "0.1"), "error", "not a number: 2"),
        (dataset(TaskSpec("regression", ("t",), low=1, high=9), metric="rmse"), ("1", "99", "3"), "warning", "1 and 9"),
        (dataset(TaskSpec("multilabel", ("a", "b"))), ("a", "a z", "b"), "error", "a tag that does not exist: 2"),
        (dataset(TaskSpec("multilabel", ("a", "b"))), ("a", "a", "a"), "suspicious", "every row has the tags 'a'"),
        (dataset(SINGLE, metric="map@3"), ("a b", "a a", "c"), "error", "a class twice: 2"),
        (dataset(SINGLE, answer="best:2"), ("a b", "a b c", "c"), "error", "more than 2 classes: 2"),
        (dataset(SINGLE, answer="best:2"), ("a b", "", "c"), "error", "no class: 2"),
        (dataset(SINGLE, answer="best:2"), ("a b", "z", "c"), "error", "does not exist: 2"),
    ],
)
def test_issues_of_wrong_values(data, rows, severity, text):
    answer = choose_answer(sample("a", "a", "a"), data)
    issues = list(answer.issues(sample(*rows)))
    assert [issue.severity for issue in issues] == [severity] and text in issues[0].text


def test_choose_answer_probability_of_three_classes_is_refused():
    with pytest.raises(UserError, match="needs two classes"):
        choose_answer(sample("0", "0", "0"), dataset(SINGLE, answer="probability"))


@pytest.mark.parametrize("spec", [SINGLE, BINARY, TaskSpec("multilabel", ("a", "b")), TaskSpec("regression", ("t",))])
def test_description_is_one_line(spec):
    metric = {"single": "map@5", "binary": "auc", "multilabel": "micro_f1", "regression": "rmse"}[spec.kind]
    assert "\n" not in choose_answer(sample("a", "a", "a"), dataset(spec, metric=metric)).description


@pytest.mark.parametrize(
    ("classes", "values", "answers"),
    [
        (("blast", "normal"), ("", "", ""), ["normal", "blast", "blast"]),  # blank, as in paddy-disease
        (("3", "15504"), ("106", "140", "7"), ["15504", "3", "3"]),  # drawn numbers of classes without images
    ],
)
def test_fill_table_labels_of_a_table_need_no_class_in_the_sample(classes, values, answers):
    data = dataset(TaskSpec("single", classes), labels="train.csv")
    assert fill(data, sample(*values), [[0.1, 0.9], [0.8, 0.2], [0.7, 0.3]]) == answers


def test_choose_answer_names_of_a_table_beside_numbers_in_the_sample_are_refused():
    data = dataset(TaskSpec("single", ("blast", "normal")), labels="train.csv")
    for values in (("17", "3", "3.5"), ("0", "1", "0")):  # the second are positions
        with pytest.raises(UserError, match=r"are not class names such as blast; add a class_map.json"):
            choose_answer(sample(*values), data)


def test_match_rows_without_an_image_get_the_baseline_where_that_is_allowed(tmp_path, capsys):
    test = tuple(Image(f"{id}.png", tmp_path / "test" / f"{id}.png") for id in IDS[:2])
    train = tuple(Image(f"a{n}", tmp_path / f"a{n}", label) for n, label in enumerate("0001"))
    keys = {"metric": "auc", "allow_missing": True}
    data = Dataset(tmp_path, make_task(BINARY), (0, 1), train, test, "name", DataSource(str(tmp_path), **keys))
    table = sample("0", "0", "0")
    rows = check_sample(table, data)
    assert data.task.pool(YES[:2], rows)[:, 1] == pytest.approx([0.1, 0.75, 0.25])
    printed = capsys.readouterr().err
    assert printed.startswith("warning: 1 ids of the sample submission have no test image") and "baseline" in printed
    with pytest.raises(UserError, match=r"1 ids of the sample .* such as 3; .* or set data.allow_missing=true"):
        check_sample(table, replace(data, source=DataSource(str(tmp_path))))
    with pytest.raises(UserError, match="such as 3, and without training labels there is no baseline"):
        check_sample(table, replace(data, train=()))  # as in a bundle
    with pytest.raises(UserError, match=r"has 1 ids of training images, such as 3; take that of the test images"):
        check_sample(table, replace(data, train=(*train, Image("3.png", tmp_path / "train" / "3.png", "0"))))


def test_best_classes_of_equal_probability_are_in_the_order_of_the_classes():
    many = dataset(TaskSpec("single", tuple("abcdefghijklmnopqrstuvwxyz")), metric="accuracy", answer="best:26")
    expected = " ".join(["z", *"abcdefghijklmnopqrstuvwxy"])
    assert fill(many, sample("x", "x", "x"), np.tile([0.02] * 25 + [0.5], (3, 1))) == [expected] * 3


def test_three_classes_in_one_column_are_labels_whatever_the_metric():
    for metric in ("log_loss", "accuracy"):
        assert fill(dataset(SINGLE, metric=metric), sample("a", "a", "b"), THREE) == ["b", "a", "c"]


def test_two_classes_named_by_numbers_below_zero_are_probabilities_under_a_ranking_metric():
    data = dataset(TaskSpec("single", ("-1", "1")), metric="auc")
    assert fill(data, sample("1", "-1", "1"), YES) == ["0.1", "0.75", "0.5"]
    assert fill(dataset(TaskSpec("single", ("-1", "1"))), sample("1", "-1", "1"), YES) == ["-1", "1", "-1"]


def test_numbers_without_limits_may_be_any():
    answer = choose_answer(sample("0", "0", "0"), dataset(TaskSpec("regression", ("t",)), metric="rmse"))
    assert list(answer.issues(sample("-1e300", "0", "1e300"))) == []
    assert answer.labels(sample("-1", "0", "2.50")) == {"1": "-1", "2": "0", "3": "2.50"}
    [issue] = answer.issues(sample("-1", "inf", "2"))
    assert (issue.severity, issue.text) == ("error", "1 row has a value that is not a number: 2")


def test_labels_of_tags_are_the_same_in_any_order():
    answer = choose_answer(sample("a", "a", "a"), dataset(TaskSpec("multilabel", ("a", "b"), separator="|")))
    assert answer.labels(sample("b|a", "a|b", "")) == {"1": "a|b", "2": "a|b", "3": ""}
    assert list(answer.issues(sample("b|a", "", "a"))) == []  # a row may have no tag


def test_labels_of_best_classes_have_their_order():
    answer = choose_answer(sample("a", "a", "a"), dataset(SINGLE, metric="map@3"))
    assert answer.labels(sample("b a", "a b", "c")) == {"1": "b a", "2": "a b", "3": "c"}


def test_columns_of_two_classes_are_one_probability_each():
    table = SubmissionTable(("id", "dog", "cat"), tuple((id, "0", "0") for id in IDS))
    data = dataset(TaskSpec("single", ("cat", "dog")), metric="log_loss")
    assert fill(data, table, YES) == ["0.1,0.9", "0.75,0.25", "0.5,0.5"]
    wrong = SubmissionTable(table.columns, (("1", "0.4", "0.4"), ("2", "1", "0"), ("3", "0", "1")))
    [issue] = choose_answer(table, data).issues(wrong)
    assert issue.severity == "suspicious" and issue.text.endswith("do not sum to 1: 1 0.8")
