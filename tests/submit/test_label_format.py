"""The format of labels: class names, or the number of each class, and a refusal where both are possible."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from comp.data.scan import scan
from comp.errors import UserError
from comp.records.source import DataSource
from comp.submit.answers import choose_answer
from comp.submit.check import check_submission
from comp.submit.label_format import LabelFormat, detect_label_format, predicted_labels
from comp.submit.submission_table import SubmissionTable
from tests.submit.cells import ROWS, issue_texts, lines, write


def sample_of(*labels: str, numeric: tuple[bool, ...] = ()) -> SubmissionTable:
    rows = tuple((f"img_{row}", label) for row, label in enumerate(labels))
    return SubmissionTable(("id", "label"), rows, numeric=numeric)


def tokens(labels, classes, numbers, numeric=()) -> tuple[str, ...]:
    return detect_label_format(sample_of(*labels, numeric=numeric), classes, numbers).class_tokens


WORDS, HERBS = ("cat", "dog", "emu"), ("104", "15504", "3")
PADDED = ("001", "002", "010")


@pytest.mark.parametrize(
    ("labels", "classes", "numbers", "expected"),
    [
        (["cat"], WORDS, (0, 1, 2), WORDS),
        (["0", "0"], WORDS, (0, 1, 2), ("0", "1", "2")),
        (["0", "2"], WORDS, (0, 1, 2), ("0", "1", "2")),
        (["0"], WORDS, (2, 7, 10), ("2", "7", "10")),  # class_map.json says which numbers, whatever the placeholder
        (["-1"], WORDS, (-1, 0, 1), ("-1", "0", "1")),
        (["0"], ("0", "1"), (0, 1), ("0", "1")),
        (["42"], HERBS, (104, 15504, 3), HERBS),
        (["3"], HERBS, (104, 15504, 3), HERBS),
        (["3", "42"], HERBS, (104, 15504, 3), HERBS),  # no image of class 42 is in train/
        (["1"], ("1", "2", "3"), (1, 2, 3), ("1", "2", "3")),
        (["-1"], ("-1", "0", "1"), (-1, 0, 1), ("-1", "0", "1")),
        (["0"], ("-1", "0", "1"), (-1, 0, 1), ("-1", "0", "1")),
        (["001"], PADDED, (1, 2, 10), PADDED),
        (["1"], PADDED, (1, 2, 10), ("1", "2", "10")),
        (["10"], PADDED, (1, 2, 10), ("1", "2", "10")),
        (["77"], PADDED, (1, 2, 10), ("1", "2", "10")),
        (["0"], HERBS, (1, 2, 0), ("1", "2", "0")),  # class_map.json gives other numbers than the names
        (["3"], HERBS, (1, 2, 0), HERBS),
        (["other"], ("1", "2", "other"), (0, 1, 2), ("1", "2", "other")),
    ],
)
def test_detect_label_format_of_clear_sample(labels, classes, numbers, expected):
    assert tokens(labels, classes, numbers) == expected


@pytest.mark.parametrize(
    ("labels", "classes", "numbers", "advice"),
    [
        (["0"], HERBS, (104, 15504, 3), "such as 104"),  # the position of a class, and no class of that number
        (["0", "1", "2"], ("1", "2", "3"), (1, 2, 3), "such as 1"),  # two are class numbers, and all are positions
        (["41", "42"], HERBS, (104, 15504, 3), "such as 104"),
        (["1", "2", "3"], WORDS, (0, 1, 2), "such as cat, or a class number such as 0"),  # perhaps counted from 1
        (["42"], WORDS, (0, 1, 2), "class_map.json"),
        (["42"], HERBS, (1, 2, 0), "such as 104, or a class number such as 1"),
        (["1"], ("1", "2", "other"), (0, 1, 2), "fill it with other for names, with 0 for numbers"),
        (["100"], ("007", "100"), (7, 100), "fill it with 007 for names, with 7 for numbers"),
        (["1"], ("1", "2"), (2, 1), "remove class_map.json or rename the folders"),
        (["0"], ("1", "2", "3"), (3, 1, 2), "class number"),
        (["²"], WORDS, (0, 1, 2), "class number"),
        (["--5"], WORDS, (2, 7, 10), "class number"),
        (["٣"], WORDS, (2, 7, 10), "class number"),
        (["9" * 5000], WORDS, (0, 1, 2), "class number"),
        (["07"], WORDS, (2, 7, 10), "class number"),
        (["1" * 100_000], WORDS, (2, 7, 10), "class number"),
    ],
)
def test_detect_label_format_of_unclear_sample_is_refused(labels, classes, numbers, advice):
    with pytest.raises(UserError) as caught:
        tokens(labels, classes, numbers)
    line = str(caught.value)
    assert advice in line and "\n" not in line and len(line) < 400


def test_detect_label_format_names_three_labels_and_abbreviates_four():
    for count, listed in ((3, "(91, 92, 93) are"), (4, "(91, 92, 93, ...) are")):
        with pytest.raises(UserError) as caught:
            tokens([str(91 + index) for index in range(count)], HERBS, (104, 15504, 3))
        assert listed in str(caught.value)


def test_detect_label_format_json_numbers_are_never_names():
    assert tokens(["104"], ("0104", "3"), (104, 3), (False, True)) == ("104", "3")
    with pytest.raises(UserError, match="class number"):
        tokens(["True"], ("False", "True"), (0, 1), (False, True))


@pytest.mark.parametrize(
    ("columns", "classes", "numbers", "expected"),
    [
        (("15504", "3", "104"), HERBS, (104, 15504, 3), HERBS),
        (("2", "1", "10"), PADDED, (1, 2, 10), ("1", "2", "10")),
        (("0", "1", "2"), HERBS, (104, 15504, 3), None),  # positions
        (("1", "2", "3"), ("1", "2", "3"), (3, 1, 2), None),  # names and numbers of different classes
        (("cat", "dog", "emu", "emu"), WORDS, (0, 1, 2), None),
    ],
)
def test_detect_label_format_of_probability_columns(columns, classes, numbers, expected):
    sample = SubmissionTable(("id", *columns), (("img_0", *("0" for _ in columns)),))
    if expected:
        assert detect_label_format(sample, classes, numbers) == LabelFormat(expected, has_probabilities=True)
    else:
        with pytest.raises(UserError, match=r"columns \(.*\)"):
            detect_label_format(sample, classes, numbers)


def test_predicted_labels_reads_columns_by_name():
    table = SubmissionTable(("id", "emu", "cat", "dog"), (("img_0", "0.7", "0.2", "0.1"), ("img_1", "0.1", "0", "0.9")))
    label_format = LabelFormat(WORDS, has_probabilities=True)
    assert predicted_labels(table, label_format, WORDS) == {"img_0": "emu", "img_1": "dog"}


@pytest.mark.parametrize(
    ("folders", "class_map", "numbers"),
    [
        (("3", "104", "15504"), None, (104, 15504, 3)),
        (("007", "010"), None, (7, 10)),
        (("-1", "0"), None, (-1, 0)),
        (("3", "104"), {"3": 0, "104": 1}, (0, 1)),
        (("7", "007"), None, (0, 1)),  # one number of two classes: their names are no numbers
        (("1", "other"), None, (0, 1)),
        (("9" * 30, "1"), None, (0, 1)),
        (("²", "1"), None, (0, 1)),
    ],
)
def test_scan_folders_named_by_numbers_are_the_class_numbers(tmp_path, folders, class_map, numbers):
    for folder in folders:
        (tmp_path / "train" / folder).mkdir(parents=True)
        (tmp_path / "train" / folder / f"of {folder}.png").touch()
    if class_map:
        (tmp_path / "class_map.json").write_text(json.dumps(class_map))
    assert scan(tmp_path).class_numbers == numbers


def test_check_submission_positions_instead_of_class_numbers_are_refused(cells_workspace):
    """The classes are 3, 104, 5 and 15504; the file holds their positions, of which only 3 is a class."""
    for folder, number in zip(sorted(Path("input/cells/train").iterdir()), (3, 104, 5, 15504), strict=True):
        folder.rename(folder.with_name(str(number)))
    sample = Path("input/cells/sample_submission.csv")
    sample.write_text("\n".join(["id,label", *(f"{id},42" for id, _ in ROWS)]))
    report = check_submission(write("positions", lines("numbers")))
    assert report.is_refused and "60 rows have a label that is not one of 104, 15504, 3, 5" in issue_texts(
        report, "error"
    )
    numbers = ["104", "15504", "3", "5"]
    named = ["id,label", *(f"{id},{numbers[row % 4]}" for row, (id, _) in enumerate(ROWS))]
    assert not check_submission(write("numbers", named)).is_refused


@pytest.mark.parametrize("names", [("apple", "pear", "plum"), ("104", "7", "9000")])
def test_check_answer_positions_of_a_tables_classes_are_refused(tmp_path, names):
    """The task is single, as set by hand; numbers come from the labels or from class_map.json, never from positions."""
    for index in range(3):
        for folder in ("train", "test"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{folder[1]}{index}.png").touch()
    (tmp_path / "train.csv").write_text("id,kind\n" + "".join(f"r{n},{name}\n" for n, name in enumerate(names)))
    source = DataSource(str(tmp_path), labels="train.csv", task="single")
    table = SubmissionTable(("id", "kind"), (("e0", "0"), ("e1", "1"), ("e2", "2")))
    if names[0] == "apple":
        with pytest.raises(UserError, match=r"add a class_map\.json"):
            choose_answer(table, scan(source))
        (tmp_path / "class_map.json").write_text(json.dumps({"apple": 7, "pear": 104, "plum": 9000}))
    dataset = scan(source)
    sample = SubmissionTable(table.columns, tuple((id, "7") for id in table.ids))
    answer = choose_answer(sample, dataset)
    [issue] = answer.issues(table)
    assert issue.severity == "error" and "3 rows have a label that is not one of 7, 104, 9000: e0 0" in issue.text
    assert answer.format(np.eye(3), sample.columns) == [("7",), ("104",), ("9000",)]
