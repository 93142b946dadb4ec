"""A submission that cannot be right, or that was sent before, is found before a shot is spent on it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from comp import config
from comp.errors import UserError
from comp.files import file_sha256, write_json
from comp.records.blend import OofSummary
from comp.records.submission import Competition
from comp.submit import class_shares
from comp.submit.check import SubmissionReport, check_submission
from comp.submit.ledger import Event, append
from comp.submit.submission_table import read_table_unchecked
from tests.conftest import REPO_ROOT

CLASSES = ("baso", "eos", "mono", "nan")  # the last one looks like a missing value
LEDGER = Path("submissions/ledger.csv")
ROWS = [(f"img_{number}.jpg", CLASSES[number % 4]) for number in range(80)]
COMPETITION = {"name": "cells", "root": "input/cells", "ledger": str(LEDGER)}
LOG_LOSS = OofSummary("log_loss", 0.5, (0.4, 0.6), 0.5, 0.5, 0.01, (0.5,), 100).to_dict()


@pytest.fixture(params=["names", "numbers", "probabilities"])
def form(request) -> str:
    return request.param


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """A competition of four equal classes, as the current directory. No test opens an image, so the files are empty."""
    monkeypatch.chdir(tmp_path)
    for label in CLASSES:
        for number in range(25):
            touch(Path(f"input/cells/train/{label}/{label}_{number}.jpg"))
    for id, _ in ROWS:
        touch(Path(f"input/cells/test/{id}"))
    return tmp_path


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def lines(form: str, rows=ROWS, confidence: float = 0.7) -> list[str]:
    """The rows of a good file, header first."""
    if form != "probabilities":
        return ["id,label", *(f"{id},{label if form == 'names' else CLASSES.index(label)}" for id, label in rows)]
    rest = (1 - confidence) / 3
    return [
        f"id,{','.join(CLASSES)}",
        *(f"{id}," + ",".join(f"{confidence if label == own else rest:.6f}" for label in CLASSES) for id, own in rows),
    ]


def write(name: str, content: list[str], **changes) -> Path:
    path = Path(f"submissions/{name}.csv")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(("\n".join(content) + "\n").encode())
    write_json(
        path.with_suffix(".json"),
        {"schema": 1, "id": name, "sha256": file_sha256(path), "competition": COMPETITION, **changes},
    )
    return path


def write_sample(form: str) -> None:
    Path("input/cells/sample_submission.csv").write_text("\n".join(lines(form, [(id, "baso") for id, _ in ROWS])))


def record(path: Path, hour: int = 1, event: str = "sent", **fields) -> None:
    append(
        LEDGER,
        Event(
            path.stem,
            f"2025-11-21T{hour:02}:00:00+00:00",
            event,
            file_sha256(path),
            file=str(path),
            competition="cells",
            **fields,
        ),
    )


def issue_texts(report: SubmissionReport, severity: str) -> str:
    return "\n".join(issue.text for issue in report.issues if issue.severity == severity)


def severities(report: SubmissionReport) -> set[str]:
    return {issue.severity for issue in report.issues}


def test_check_submission_good_file_has_no_issues(workspace, form):
    write_sample(form)
    report = check_submission(write("good", lines(form)))
    assert not report.issues and not report.is_refused and "it may be sent" in report.to_text()
    assert (report.id, report.rows, report.sha256) == ("good", 80, file_sha256(report.file))
    assert report.competition == Competition("cells", "input/cells", str(LEDGER))


def change(row: int, label: str):
    """Return a function that writes another label into a row of the good file."""
    return lambda good: [*good[:row], f"{good[row].partition(',')[0]},{label}", *good[row + 1 :]]


ALL_FORMATS = {
    "missing": (lambda good: good[:-2], "error", r"2 ids are missing: img_78.jpg, img_79.jpg"),
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
def test_format_issues_of_every_format_are_reported(workspace, form, case):
    damage, severity, text = ALL_FORMATS[case]
    write_sample(form)
    expect(damage, severity, text, form)


ONE_FORMAT = {
    ("names", "empty"): (change(5, ""), "error", "1 row has no label: img_4.jpg"),
    ("names", "None"): (change(5, "None"), "error", "1 row has no label: img_4.jpg"),
    ("names", "NaN"): (change(5, "NaN"), "error", "1 row has no label"),
    ("names", "other case"): (change(5, "Eos"), "error", "1 row has a label that is none of baso, .*: img_4.jpg Eos"),
    ("names", "space"): (change(5, " eos"), "error", "a label that is none of"),
    ("names", "numbers"): (lambda good: lines("numbers"), "error", "80 rows have a label that is none of baso"),
    ("numbers", "names"): (lambda good: lines("names"), "error", "20 rows have no label|a label that is none of 0"),
    ("numbers", "range"): (change(5, "4"), "error", "a label that is none of 0, 1, 2, 3: img_4.jpg 4"),
    ("numbers", "decimal"): (change(5, "1.0"), "error", "a label that is none of 0, 1, 2, 3: img_4.jpg 1.0"),
    ("numbers", "empty"): (change(5, ""), "error", "1 row has no label"),
    ("probabilities", "empty"): (change(5, "0.5,,0.25,0.25"), "error", "1 row has a probability that is no number"),
    ("probabilities", "NaN"): (change(5, "0.5,nan,0.25,0.25"), "error", "a probability that is no number: img_4.jpg"),
    ("probabilities", "inf"): (change(5, "0.5,inf,0.25,0.25"), "error", "a probability that is no number"),
    ("probabilities", "word"): (change(5, "0.5,much,0.25,0.25"), "error", "a probability that is no number"),
    ("probabilities", "above"): (change(5, "1.5,0,0,0"), "error", "1 row has a probability below 0 or above 1"),
    ("probabilities", "below"): (change(5, "-0.5,0.5,0.5,0.5"), "error", "1 row has a probability below 0 or above"),
    ("probabilities", "sum"): (change(5, "0.7,0.1,0.1,0.05"), "suspicious", "1 row has .* sum to 1: img_4.jpg 0.95"),
    ("probabilities", "order"): (lambda good: ["id,eos,baso,mono,nan", *good[1:]], "error", "its columns are id,eos"),
    ("probabilities", "labels"): (lambda good: lines("names"), "error", "its columns are id,label, and must be"),
}


@pytest.mark.parametrize(("form", "case"), ONE_FORMAT)
def test_format_issues_of_one_format_are_reported(workspace, form, case):
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


def test_format_issues_rounded_probabilities_are_accepted(workspace):
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
def test_format_issues_of_json_are_reported(workspace, content, message):
    Path("input/cells/sample_submission.json").write_text(json.dumps([{"id": id, "label": 0} for id, _ in ROWS]))
    path = Path("submissions/x.json")
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    write_json(path.with_suffix(".about.json"), {"schema": 1, "id": "x", "competition": COMPETITION})
    report = check_submission(path)
    assert message in issue_texts(report, "error")


def test_read_table_unchecked_repeated_id_in_map_is_kept(workspace):
    path = Path("x.json")
    path.write_text('{"a": 1, "a": 2}')
    assert read_table_unchecked(path).ids == ["a", "a"]


# ---- class shares ----


def rows_with_counts(*counts: int) -> list[tuple[str, str]]:
    labels = [label for label, count in zip(CLASSES, counts, strict=True) for _ in range(count)]
    return [(id, label) for (id, _), label in zip(ROWS, labels, strict=True)]


@pytest.mark.parametrize(
    ("counts", "severity"),
    [
        ((20, 20, 20, 20), None),
        ((26, 20, 18, 16), None),
        ((40, 20, 20, 0), "warning"),  # 25 % of rows; 80 random draws are 20 % off at most
        ((70, 10, 0, 0), "suspicious"),  # 62.5 %
    ],
)
def test_check_submission_class_shares_far_from_training_have_issue(workspace, form, counts, severity):
    write_sample(form)
    report = check_submission(write("x", lines(form, rows_with_counts(*counts))))
    assert severities(report) == ({severity} if severity else set()), report.to_text()
    assert (
        severity is None
        or "baso has" in issue_texts(report, severity)
        or "nan has 0.0% instead of 25.0%" in issue_texts(report, severity)
    )


def test_class_share_issues_few_rows_have_none():
    trained = dict.fromkeys("abcd", 100)
    assert not list(class_shares.class_share_issues(["a", "a", "b"], trained))
    assert [issue.severity for issue in class_shares.class_share_issues(["a"] * 60, trained)] == ["suspicious"]


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.01, []), (0.03, ["warning"]), (0.29, ["warning"]), (0.31, ["suspicious"])]
)
def test_class_share_issues_margins_beyond_noise(margin, expected):
    rows, counts = 10_000, dict.fromkeys("ab", 100)
    extra = round((class_shares.sampling_noise(np.array([0.5, 0.5]), rows) + margin) * rows)
    predicted = ["a"] * (rows // 2 + extra) + ["b"] * (rows // 2 - extra)
    assert [issue.severity for issue in class_shares.class_share_issues(predicted, counts)] == expected


def test_class_share_issues_random_draws_hardly_ever_warn():
    trained, rng = {"a": 500, "b": 300, "c": 150, "d": 50}, np.random.default_rng(1)
    shares = np.array(list(trained.values())) / 1000
    drawn = rng.multinomial(200, shares, size=200)
    warned = sum(
        bool(
            list(
                class_shares.class_share_issues(
                    Counter(dict(zip(trained, map(int, row), strict=True))).elements(), trained
                )
            )
        )
        for row in drawn
    )
    assert warned <= 2  # one in a thousand would be 0.2, and the margin makes it less


# ---- earlier submissions ----


def rows_with_changes(count: int) -> list[tuple[str, str]]:
    """The good rows, the first `count` with the next class."""
    return [(id, CLASSES[(CLASSES.index(label) + (row < count)) % 4]) for row, (id, label) in enumerate(ROWS)]


def test_previous_same_bytes_are_suspicious(workspace, form):
    write_sample(form)
    path = write("first", lines(form))
    record(path, public=0.9)
    for copy in (path, write("second", lines(form))):
        report = check_submission(copy)
        assert (
            report.is_refused
            and "its bytes are those of first (sent on 2025-11-21T01:00:00+00:00, public 0.9)"
            in issue_texts(report, "suspicious")
        )
        assert not check_submission(copy, allow_suspicious=True).is_refused
    path.unlink()  # the hash is enough
    assert check_submission(copy).is_refused


def test_previous_same_labels_are_suspicious_if_labels_are_scored(workspace):
    write_sample("probabilities")
    record(write("first", lines("probabilities")))
    more_confident = lines("probabilities", confidence=0.9)
    report = check_submission(write("second", more_confident))
    assert report.is_refused and "its labels are those of first" in issue_texts(report, "suspicious")
    report = check_submission(write("second", more_confident, oof=LOG_LOSS))
    assert not report.is_refused and "which changes the log_loss" in issue_texts(report, "warning")


def test_previous_same_labels_in_another_order_are_suspicious(workspace):
    write_sample("names")
    record(write("first", lines("names")))
    report = check_submission(write("second", lines("names", ROWS[::-1])))
    assert report.is_refused and "its labels are those of first" in issue_texts(report, "suspicious")


def test_previous_rows_that_differ_from_best_are_listed(workspace, form):
    write_sample(form)
    for name, count, public in (("low", 9, 0.8), ("best", 4, 0.95), ("middle", 6, 0.9)):
        record(write(name, lines(form, rows_with_changes(count))), public=public)
    report = check_submission(write("new", lines(form, rows_with_changes(0))))
    assert severities(report) == {"info"} and not report.is_refused
    assert issue_texts(report, "info") == (
        "differs from best (sent on 2025-11-21T01:00:00+00:00, public 0.95) in 4 of 80 "
        "rows: img_0.jpg eos -> baso, img_1.jpg mono -> eos, img_2.jpg nan -> mono, ..."
    )
    by_log_loss = check_submission(write("new", lines(form, rows_with_changes(0)), oof=LOG_LOSS))
    assert "differs from low" in issue_texts(by_log_loss, "info")


def test_previous_file_not_sent_is_a_warning(workspace, form):
    write_sample(form)
    record(write("first", lines(form)), event="written")
    report = check_submission(write("second", lines(form)))
    assert not report.is_refused and "its bytes are those of first (written, not sent)" in issue_texts(
        report, "warning"
    )
    assert not check_submission(Path("submissions/first.csv")).issues  # itself


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(lambda path: path.unlink(), "its file is missing"), (lambda path: path.write_text("id"), "has changed since")],
)
def test_previous_unreadable_file_is_a_warning(workspace, damage, reason):
    write_sample("names")
    path = write("first", lines("names"))
    record(path)
    damage(path)
    report = check_submission(write("second", lines("names", rows_with_changes(3))))
    assert not report.is_refused and "could not be compared with first" in issue_texts(report, "warning")
    assert reason in issue_texts(report, "warning")


def test_previous_many_duplicates_are_one_issue(workspace):
    write_sample("names")
    for number in range(5):
        write(f"{number}", lines("names"))
        record(Path(f"submissions/{number}.csv"), number)
    report = check_submission(write("new", lines("names")))
    assert re.fullmatch(
        r"its bytes are those of 0 \(.*?\), 1 \(.*?\), 2 \(.*?\), \.\.\.", issue_texts(report, "suspicious")
    )


@pytest.mark.parametrize("changes", [{"competition": {**COMPETITION, "root": 4}}, {"competition": 3}, {"oof": 3}])
def test_check_submission_damaged_manifest_is_one_line(workspace, changes):
    write_sample("names")
    with pytest.raises(UserError):
        check_submission(write("x", lines("names"), **changes))


def test_previous_sent_name_with_other_content_is_an_error(workspace):
    write_sample("names")
    record(write("first", lines("names")))
    report = check_submission(write("first", lines("names", rows_with_changes(3))), allow_suspicious=True)
    assert report.is_refused and "had another content under this name" in issue_texts(report, "error")


def test_previous_every_content_sent_under_one_name_counts(workspace):
    write_sample("names")
    record(write("first", lines("names")), hour=1)
    record(write("first", lines("names", rows_with_changes(3))), hour=2)
    assert "its bytes are those of first" in issue_texts(
        check_submission(write("second", lines("names"))), "suspicious"
    )


def test_previous_other_competition_is_not_compared(workspace):
    write_sample("names")
    path = write("first", lines("names"))
    append(LEDGER, Event("first", "2025-11-21", "sent", file_sha256(path), competition="others", file=str(path)))
    assert not check_submission(write("second", lines("names"))).issues


def test_check_submission_file_changed_after_writing_is_a_warning(workspace):
    write_sample("names")
    report = check_submission(write("x", lines("names"), sha256="0"))
    assert not report.is_refused and "changed after it was written" in issue_texts(report, "warning")


# ---- the command ----


def test_check_command_exit_status(workspace, run_cli):
    write_sample("names")
    good, bad = write("good", lines("names")), write("bad", lines("names")[:-1])
    assert run_cli("comp", "submit", "check", str(good))[0] == run_cli("comp", "submit", "check", "good")[0] == 0
    assert run_cli("comp", "submit", "check", str(bad), "--yes")[0] == 1
    record(good)
    assert [run_cli("comp", "submit", "check", "good", *yes)[0] for yes in ([], ["--yes"])] == [1, 0]
    before = sorted(Path().rglob("*"))
    for arguments, message in (
        ([], "are required: FILE (see"),
        (["nothing"], "there is no submission nothing"),
        (["submissions/ledger.csv"], "has no ledger.json beside it"),
        (["good", "-c", "none.yaml"], "none.yaml"),
        (["good", "data.root=nowhere"], ""),
    ):
        status, out, err = run_cli("comp", "submit", "check", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith("error: ") and message in err
    assert sorted(Path().rglob("*")) == before


def test_check_command_config_replaces_missing_manifest(workspace, run_cli):
    write_sample("names")
    path = write("good", lines("names"))
    path.with_suffix(".json").unlink()
    Path("cells.yaml").write_text("data: {root: input/cells}\n")
    assert run_cli("comp", "submit", "check", str(path))[0] == 2
    assert run_cli("comp", "submit", "check", str(path), "-c", "cells.yaml")[0] == 0


def test_check_submission_config_overrides_manifest(workspace):
    write_sample("names")
    Path("cells.yaml").write_text("data: {root: input/cells}\nsubmit: {ledger: other.csv}\n")
    assert (
        check_submission(write("good", lines("names")), config.load("cells.yaml")[0]).competition.ledger == "other.csv"
    )


@pytest.mark.parametrize("content", [b"\xff\xfe", b""])
def test_check_submission_unreadable_file_is_one_line(workspace, content):
    write_sample("names")
    path = write("x", lines("names"))
    path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        check_submission(path)


def test_check_imports_no_torch():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, comp.submit.check; print('torch' in sys.modules)"],
        cwd=REPO_ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False\n"
