"""Every format error of a submission is reported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from comp.files import write_json
from comp.submit.answers.best import BestAnswer
from comp.submit.answers.number import NumberAnswer
from comp.submit.answers.probability import ProbabilityAnswer
from comp.submit.answers.tags import TagsAnswer
from comp.submit.check import check_submission
from comp.submit.format_checks import label_issues, probability_issues
from comp.submit.label_format import LabelFormat
from comp.submit.submission_table import SubmissionTable, read_table_unchecked
from tests.submit.cells import COMPETITION, ROWS, issue_texts, lines, severities, write, write_sample


def change(row: int, label: str):
    """Return a function that writes another label into a row of the good file."""
    return lambda good: [*good[:row], f"{good[row].partition(',')[0]},{label}", *good[row + 1 :]]


ALL_FORMATS = {
    "missing": (lambda good: good[:-2], "error", r"2 ids are missing: img_78.jpg, img_79.jpg"),
    "three missing": (lambda good: good[:-3], "error", r"3 ids are missing: img_77.jpg, img_78.jpg, img_79.jpg$"),
    "none": (lambda good: good[:1], "error", r"80 ids are missing: img_0.jpg, img_1.jpg, img_2.jpg, \.\.\."),
    "extra": (lambda good: [*good, good[1].replace("img_0", "img_x")], "error", "1 id is not in the sample: img_x"),
    "short ids": (lambda good: [line.replace(".jpg", "") for line in good], "error", "80 ids are not in the sample"),
    "twice": (lambda good: [*good, good[3]], "error", "1 id is repeated: img_2.jpg"),
    "order": (lambda good: [good[0], *good[:0:-1]], "warning", "ids are in another order"),
    "columns": (lambda good: ["x" + good[0], *good[1:]], "error", "its columns are xid,.*, and must be id,"),
    "torn": (lambda good: [*good[:-1], good[-1] + ",0"], "error", "1 row has another length than the header"),
    "cut": (lambda good: [*good[:-1], "img_79.jpg"], "error", "1 row has another length than the header"),
    "newlines": (lambda good: [line + "\r" for line in good], "warning", "newlines"),
    "mark": (lambda good: ["\ufeff" + good[0], *good[1:]], "warning", "byte order mark"),
    "constant": (
        lambda good: [good[0], *(f"{id},{good[1].partition(',')[2]}" for id, _ in ROWS)],
        "suspicious",
        "every row has the (label|same)",
    ),
}


@pytest.mark.parametrize("case", ALL_FORMATS)
def test_format_issues_of_every_format_are_reported(cells_workspace, form, case):
    damage, severity, text = ALL_FORMATS[case]
    write_sample(form)
    expect(damage, severity, text, form)


ONE_FORMAT = {
    ("names", "empty"): (change(5, ""), "error", "1 row has no label: img_4.jpg"),
    ("names", "None"): (change(5, "None"), "error", "1 row has no label: img_4.jpg"),
    ("names", "NaN"): (change(5, "NaN"), "error", "1 row has no label"),
    ("names", "other case"): (
        change(5, "Eos"),
        "error",
        "1 row has a label that is not one of baso, .*: img_4.jpg Eos",
    ),
    ("names", "space"): (change(5, " eos"), "error", "a label that is not one of"),
    ("names", "numbers"): (lambda good: lines("numbers"), "error", "80 rows have a label that is not one of baso"),
    ("numbers", "names"): (lambda good: lines("names"), "error", "20 rows have no label|a label that is not one of 0"),
    ("numbers", "range"): (change(5, "4"), "error", "a label that is not one of 0, 1, 2, 3: img_4.jpg 4"),
    ("numbers", "decimal"): (change(5, "1.0"), "error", "a label that is not one of 0, 1, 2, 3: img_4.jpg 1.0"),
    ("numbers", "empty"): (change(5, ""), "error", "1 row has no label"),
    ("probabilities", "empty"): (change(5, "0.5,,0.25,0.25"), "error", "1 row has a probability that is not a number"),
    ("probabilities", "NaN"): (
        change(5, "0.5,nan,0.25,0.25"),
        "error",
        "a probability that is not a number: img_4.jpg",
    ),
    ("probabilities", "inf"): (change(5, "0.5,inf,0.25,0.25"), "error", "a probability that is not a number"),
    ("probabilities", "word"): (change(5, "0.5,much,0.25,0.25"), "error", "a probability that is not a number"),
    ("probabilities", "above"): (change(5, "1.5,0,0,0"), "error", "1 row has a probability below 0 or above 1"),
    ("probabilities", "below"): (change(5, "-0.5,0.5,0.5,0.5"), "error", "1 row has a probability below 0 or above"),
    ("probabilities", "sum"): (change(5, "0.7,0.1,0.1,0.05"), "suspicious", "1 row has .* sum to 1: img_4.jpg 0.95"),
    ("probabilities", "order"): (lambda good: ["id,eos,baso,mono,nan", *good[1:]], "error", "its columns are id,eos"),
    ("probabilities", "labels"): (lambda good: lines("names"), "error", "its columns are id,label, and must be"),
}


@pytest.mark.parametrize(("form", "case"), ONE_FORMAT)
def test_format_issues_of_one_format_are_reported(cells_workspace, form, case):
    write_sample(form)
    expect(*ONE_FORMAT[form, case], form)


def expect(damage, severity: str, text: str, form: str) -> None:
    report = check_submission(write("bad", damage(lines(form))))
    assert re.search(text, issue_texts(report, severity)), report.to_text()
    assert report.is_refused == (severity != "warning")
    assert severity == "warning" or "another order" not in issue_texts(report, "warning")
    if severity != "error":
        assert not check_submission(report.file, allow_suspicious=True).is_refused and "error" not in severities(report)
    else:
        assert check_submission(report.file, allow_suspicious=True).is_refused


def test_format_issues_rounded_probabilities_are_accepted(cells_workspace):
    write_sample("probabilities")
    assert not check_submission(write("good", lines("probabilities", confidence=0.70004))).issues


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"id": "img_0.jpg", "label": 1}, {"id": "img_0.jpg", "label": 1}], "1 id is repeated"),
        ([{"id": f"img_{n}.jpg", "label": str(n % 4)} for n in range(80)], "JSON numbers where the sample has text"),
        ([{"id": f"img_{n}.jpg", "label": None if n else 1} for n in range(80)], "79 rows have no label"),
        ({f"img_{n}.jpg": n % 4 for n in range(80)}, "its layout is map, and the sample's is records"),
    ],
)
def test_format_issues_of_json_are_reported(cells_workspace, content, message):
    Path("input/cells/sample_submission.json").write_text(json.dumps([{"id": id, "label": 0} for id, _ in ROWS]))
    path = Path("submissions/x.json")
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    write_json(path.with_suffix(".about.json"), {"schema": 1, "id": "x", "competition": COMPETITION})
    report = check_submission(path)
    assert message in issue_texts(report, "error")


def test_format_issues_of_many_long_columns_are_short(cells_workspace):
    write_sample("names")
    wide = [f"id,{','.join(f'{number}' * 30 for number in range(3000))}"]
    text = issue_texts(check_submission(write("wide", [*wide, f"img_0.jpg{',0' * 3000}"])), "error")
    assert "its columns are id,0000" in text and "..., and must be id,label" in text and len(text) < 2000


def test_read_table_unchecked_repeated_id_in_map_is_kept(cells_workspace):
    path = Path("x.json")
    path.write_text('{"a": 1, "a": 2}')
    assert read_table_unchecked(path).ids == ["a", "a"]


LABELS = LabelFormat(("a", "b"), has_probabilities=False)
COLUMNS = LabelFormat(("a", "b"), has_probabilities=True)


def table(*rows: tuple[str, ...]) -> SubmissionTable:
    return SubmissionTable(("id", *("abc"[: len(rows[0])])), tuple((f"{n}", *row) for n, row in enumerate(rows)))


@pytest.mark.parametrize(
    ("row", "issues"),
    [
        (("a",), lambda rows: label_issues(rows, LABELS)),
        (("0.5", "0.5"), lambda rows: probability_issues(rows, COLUMNS, True)),
        (("3",), NumberAnswer(1, 9).issues),
        (("0.5",), ProbabilityAnswer(("no", "yes")).issues),
        (("a b",), TagsAnswer(("a", "b"), " ").issues),
        (("a b",), BestAnswer(("a", "b"), 2).issues),
    ],
    ids=["label", "probabilities", "number", "probability", "tags", "best"],
)
def test_issues_one_row_is_not_suspicious_and_two_equal_ones_are(row, issues):
    assert list(issues(table(row))) == []
    assert [issue.severity for issue in issues(table(row, row))] == ["suspicious"]


def test_label_issues_of_an_unknown_label_in_every_row_is_the_error_alone():
    for count, text in ((1, "1 row has no label: 0"), (2, "2 rows have no label: 0, 1")):
        [issue] = label_issues(table(*[("",)] * count), LABELS)
        assert (issue.severity, issue.text) == ("error", text)


def test_probability_issues_ends_of_the_range_are_allowed():
    assert list(probability_issues(table(("0", "1"), ("1", "0")), COLUMNS, True)) == []
    for row in (("-0.001", "1.001"), ("1.001", "-0.001"), ("0", "1.001")):
        [issue] = probability_issues(table(row, ("0.5", "0.5")), COLUMNS, True)
        assert issue.text == "1 row has a probability below 0 or above 1: 0"


def test_number_answer_ends_of_trainings_range_are_allowed():
    assert list(NumberAnswer(1, 9).issues(table(("1",), ("9",)))) == []
    for outside in ("0.999", "9.001"):
        assert [issue.severity for issue in NumberAnswer(1, 9).issues(table(("1",), (outside,)))] == ["warning"]


def test_probability_answer_two_labels_are_suspicious_and_one_half_is_yes():
    answer = ProbabilityAnswer(("no", "yes"))
    assert list(answer.issues(table(("0",), ("1",), ("0.5",)))) == []
    for rows, text in (((("0",), ("1",)), "every value is 0 or 1"), ((("1",), ("1",)), "every row has the value 1")):
        [issue] = answer.issues(table(*rows))
        assert issue.severity == "suspicious" and text in issue.text
    assert list(answer.issues(table(("1",)))) == []
    assert answer.labels(table(("0.499",), ("0.5",))) == {"0": "no", "1": "yes"}
