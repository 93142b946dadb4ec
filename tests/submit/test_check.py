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
from comp.submit import class_shares
from comp.submit.check import SubmissionReport, check_submission
from comp.submit.competition import Competition
from comp.submit.ledger import Event, append
from comp.submit.sample import read_table_unchecked
from tests.conftest import REPO_ROOT

CLASSES = ("baso", "eos", "mono", "nan")  # one that looks like nothing
LEDGER = Path("submissions/ledger.csv")
ROWS = [(f"img_{number}.jpg", CLASSES[number % 4]) for number in range(80)]
SUBMISSION = {"name": "cells", "root": "input/cells", "ledger": str(LEDGER)}


@pytest.fixture(params=["names", "numbers", "probabilities"])
def form(request) -> str:
    return request.param


@pytest.fixture
def house(tmp_path, monkeypatch) -> Path:
    """A competition of four equal classes. Nothing opens an image here, so that the files are empty."""
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


def lines(form: str, rows=ROWS, sure: float = 0.7) -> list[str]:
    """The rows of a good file, header first."""
    if form != "probabilities":
        return ["id,label", *(f"{id},{label if form == 'names' else CLASSES.index(label)}" for id, label in rows)]
    rest = (1 - sure) / 3
    return [
        f"id,{','.join(CLASSES)}",
        *(f"{id}," + ",".join(f"{sure if label == own else rest:.6f}" for label in CLASSES) for id, own in rows),
    ]


def write(name: str, content: list[str], **note) -> Path:
    path = Path(f"submissions/{name}.csv")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(("\n".join(content) + "\n").encode())
    write_json(
        path.with_suffix(".json"),
        {"schema": 1, "id": name, "sha256": file_sha256(path), "competition": SUBMISSION, **note},
    )
    return path


def sample(form: str) -> None:
    Path("input/cells/sample_submission.csv").write_text("\n".join(lines(form, [(id, "baso") for id, _ in ROWS])))


def sent(path: Path, hour: int = 1, event: str = "sent", **known) -> None:
    append(
        LEDGER,
        Event(
            path.stem,
            f"2025-11-21T{hour:02}:00:00+00:00",
            event,
            file_sha256(path),
            file=str(path),
            competition="cells",
            **known,
        ),
    )


def said(report: SubmissionReport, level: str) -> str:
    return "\n".join(finding.text for finding in report.findings if finding.level == level)


def levels(report: SubmissionReport) -> set[str]:
    return {finding.level for finding in report.findings}


def test_a_good_file_may_be_sent_and_nothing_is_said(house, form):
    sample(form)
    report = check_submission(write("good", lines(form)))
    assert not report.findings and not report.refused and "it may be sent" in report.render()
    assert (report.id, report.rows, report.sha256) == ("good", 80, file_sha256(report.file))
    assert report.competition == Competition("cells", "input/cells", str(LEDGER))


def change(row: int, to: str):
    """Put another answer into a row of the good file."""
    return lambda good: [*good[:row], f"{good[row].partition(',')[0]},{to}", *good[row + 1 :]]


EVERY = {
    "missing": (lambda good: good[:-2], "broken", r"2 ids are missing: img_78.jpg, img_79.jpg"),
    "none": (lambda good: good[:1], "broken", r"80 ids are missing: img_0.jpg, img_1.jpg, img_2.jpg, \.\.\."),
    "extra": (lambda good: [*good, good[1].replace("img_0", "img_x")], "broken", "1 id is not in the sample: img_x"),
    "short ids": (lambda good: [line.replace(".jpg", "") for line in good], "broken", "80 ids are not in the sample"),
    "twice": (lambda good: [*good, good[3]], "broken", "1 id is there twice: img_2.jpg"),
    "order": (lambda good: [good[0], *good[:0:-1]], "warning", "ids are in another order"),
    "columns": (lambda good: ["x" + good[0], *good[1:]], "broken", "its columns are xid,.*, and must be id,"),
    "torn": (lambda good: [*good[:-1], good[-1] + ",0"], "broken", "1 row has another length than the header"),
    "cut": (lambda good: [*good[:-1], "img_79.jpg"], "broken", "1 row has another length than the header"),
    "newlines": (lambda good: [line + "\r" for line in good], "warning", "newlines"),
    "mark": (lambda good: ["\ufeff" + good[0], *good[1:]], "warning", "byte order mark"),
    "constant": (
        lambda good: [good[0], *(f"{id},{good[1].partition(',')[2]}" for id, _ in ROWS)],
        "doubtful",
        "every row (says|has the same)",
    ),
}


@pytest.mark.parametrize("case", EVERY)
def test_what_is_wrong_with_any_form_is_found(house, form, case):
    spoil, level, text = EVERY[case]
    sample(form)
    expect(spoil, level, text, form)


ONE = {
    ("names", "empty"): (change(5, ""), "broken", "1 row has no label: img_4.jpg"),
    ("names", "None"): (change(5, "None"), "broken", "1 row has no label: img_4.jpg"),
    ("names", "NaN"): (change(5, "NaN"), "broken", "1 row has no label"),
    ("names", "other case"): (change(5, "Eos"), "broken", "1 row has a label that is none of baso, .*: img_4.jpg Eos"),
    ("names", "space"): (change(5, " eos"), "broken", "a label that is none of"),
    ("names", "numbers"): (lambda good: lines("numbers"), "broken", "80 rows have a label that is none of baso"),
    ("numbers", "names"): (lambda good: lines("names"), "broken", "20 rows have no label|a label that is none of 0"),
    ("numbers", "range"): (change(5, "4"), "broken", "a label that is none of 0, 1, 2, 3: img_4.jpg 4"),
    ("numbers", "decimal"): (change(5, "1.0"), "broken", "a label that is none of 0, 1, 2, 3: img_4.jpg 1.0"),
    ("numbers", "empty"): (change(5, ""), "broken", "1 row has no label"),
    ("probabilities", "empty"): (change(5, "0.5,,0.25,0.25"), "broken", "1 row has a probability that is no number"),
    ("probabilities", "NaN"): (change(5, "0.5,nan,0.25,0.25"), "broken", "a probability that is no number: img_4.jpg"),
    ("probabilities", "inf"): (change(5, "0.5,inf,0.25,0.25"), "broken", "a probability that is no number"),
    ("probabilities", "word"): (change(5, "0.5,much,0.25,0.25"), "broken", "a probability that is no number"),
    ("probabilities", "above"): (change(5, "1.5,0,0,0"), "broken", "1 row has a probability below 0 or above 1"),
    ("probabilities", "below"): (change(5, "-0.5,0.5,0.5,0.5"), "broken", "1 row has a probability below 0 or above"),
    ("probabilities", "sum"): (change(5, "0.7,0.1,0.1,0.05"), "doubtful", "1 row has .* sum to 1: img_4.jpg 0.95"),
    ("probabilities", "order"): (lambda good: ["id,eos,baso,mono,nan", *good[1:]], "broken", "its columns are id,eos"),
    ("probabilities", "labels"): (lambda good: lines("names"), "broken", "its columns are id,label, and must be"),
}


@pytest.mark.parametrize(("form", "case"), ONE)
def test_what_is_wrong_with_one_form_is_found(house, form, case):
    sample(form)
    expect(*ONE[form, case], form)


def expect(spoil, level: str, text: str, form: str) -> None:
    report = check_submission(write("bad", spoil(lines(form))))
    assert re.search(text, said(report, level)), report.render()
    assert report.refused == (level != "warning")
    assert level == "warning" or "another order" not in said(report, "warning")
    if level != "broken":
        assert not check_submission(report.file, yes=True).refused and "broken" not in levels(report)
    else:
        assert check_submission(report.file, yes=True).refused


def test_rounded_probabilities_still_sum_to_one(house):
    sample("probabilities")
    assert not check_submission(write("good", lines("probabilities", sure=0.70004))).findings


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ([{"id": "img_0.jpg", "label": 1}, {"id": "img_0.jpg", "label": 1}], "1 id is there twice"),
        ([{"id": f"img_{n}.jpg", "label": str(n % 4)} for n in range(80)], "JSON numbers where the sample has text"),
        ([{"id": f"img_{n}.jpg", "label": None if n else 1} for n in range(80)], "79 rows have no label"),
        ({f"img_{n}.jpg": n % 4 for n in range(80)}, "its layout is map, and the sample's is records"),
    ],
)
def test_json_has_its_own_ways_to_be_wrong(house, text, complaint):
    Path("input/cells/sample_submission.json").write_text(json.dumps([{"id": id, "label": 0} for id, _ in ROWS]))
    path = Path("submissions/x.json")
    path.parent.mkdir()
    path.write_text(json.dumps(text))
    write_json(path.with_suffix(".about.json"), {"schema": 1, "id": "x", "competition": SUBMISSION})
    report = check_submission(path)
    assert complaint in said(report, "broken")


def test_a_map_that_names_an_id_twice_does_not_hide_it(house):
    path = Path("x.json")
    path.write_text('{"a": 1, "a": 2}')
    assert read_table_unchecked(path).ids == ["a", "a"]


# ---- class shares ----


def of_shares(*counts: int) -> list[tuple[str, str]]:
    labels = [label for label, count in zip(CLASSES, counts, strict=True) for _ in range(count)]
    return [(id, label) for (id, _), label in zip(ROWS, labels, strict=True)]


@pytest.mark.parametrize(
    ("counts", "level"),
    [
        ((20, 20, 20, 20), None),
        ((26, 20, 18, 16), None),
        ((40, 20, 20, 0), "warning"),  # 25 % of rows; 80 honest draws are 20 % off at most
        ((70, 10, 0, 0), "doubtful"),  # 62.5 %
    ],
)
def test_class_shares_far_from_trainings_are_told_by_how_far(house, form, counts, level):
    sample(form)
    report = check_submission(write("x", lines(form, of_shares(*counts))))
    assert levels(report) == ({level} if level else set()), report.render()
    assert level is None or "baso has" in said(report, level) or "nan has 0.0% instead of 25.0%" in said(report, level)


def test_few_rows_may_have_any_shares():
    trained = dict.fromkeys("abcd", 100)
    assert not list(class_shares.class_share_issues(["a", "a", "b"], trained))
    assert [finding.level for finding in class_shares.class_share_issues(["a"] * 60, trained)] == ["doubtful"]


@pytest.mark.parametrize(
    ("beyond", "level"), [(0.01, []), (0.03, ["warning"]), (0.29, ["warning"]), (0.31, ["doubtful"])]
)
def test_a_models_own_errors_are_allowed_for_beyond_the_noise(beyond, level):
    rows, trained = 10_000, dict.fromkeys("ab", 100)
    moved = round((class_shares.sampling_noise(np.array([0.5, 0.5]), rows) + beyond) * rows)
    predicted = ["a"] * (rows // 2 + moved) + ["b"] * (rows // 2 - moved)
    assert [finding.level for finding in class_shares.class_share_issues(predicted, trained)] == level


def test_honest_draws_are_hardly_ever_warned_of():
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


# ---- beside what was sent ----


def moved(count: int) -> list[tuple[str, str]]:
    """The good rows with the first `count` answers turned to the next class."""
    return [(id, CLASSES[(CLASSES.index(label) + (place < count)) % 4]) for place, (id, label) in enumerate(ROWS)]


def test_the_same_bytes_are_not_sent_twice(house, form):
    sample(form)
    path = write("first", lines(form))
    sent(path, public=0.9)
    for again in (path, write("second", lines(form))):
        report = check_submission(again)
        assert report.refused and "byte for byte it is first (sent on 2025-11-21T01:00:00+00:00, public 0.9)" in said(
            report, "doubtful"
        )
        assert not check_submission(again, yes=True).refused
    path.unlink()  # the hash is enough
    assert check_submission(again).refused


def test_the_same_labels_are_a_wasted_shot_where_labels_are_scored(house):
    sample("probabilities")
    sent(write("first", lines("probabilities")))
    other = lines("probabilities", sure=0.9)
    report = check_submission(write("second", other))
    assert report.refused and "every label is that of first" in said(report, "doubtful")
    report = check_submission(write("second", other, oof={"metric": "log_loss"}))
    assert not report.refused and "which log_loss sees" in said(report, "warning")


def test_the_same_labels_in_another_order_are_the_same(house):
    sample("names")
    sent(write("first", lines("names")))
    report = check_submission(write("second", lines("names", ROWS[::-1])))
    assert report.refused and "every label is that of first" in said(report, "doubtful")


def test_it_is_said_in_which_rows_it_differs_from_the_best_one(house, form):
    sample(form)
    for name, count, public in (("low", 9, 0.8), ("best", 4, 0.95), ("middle", 6, 0.9)):
        sent(write(name, lines(form, moved(count))), public=public)
    report = check_submission(write("new", lines(form, moved(0))))
    assert levels(report) == {"note"} and not report.refused
    assert said(report, "note") == (
        "differs from best (sent on 2025-11-21T01:00:00+00:00, public 0.95) in 4 of 80 "
        "rows: img_0.jpg eos -> baso, img_1.jpg mono -> eos, img_2.jpg nan -> mono, ..."
    )
    low = check_submission(write("new", lines(form, moved(0)), oof={"metric": "log_loss"}))
    assert "differs from low" in said(low, "note")


def test_files_written_but_not_sent_only_warn(house, form):
    sample(form)
    sent(write("first", lines(form)), event="written")
    report = check_submission(write("second", lines(form)))
    assert not report.refused and "byte for byte it is first (written, not sent)" in said(report, "warning")
    assert not check_submission(Path("submissions/first.csv")).findings  # itself


@pytest.mark.parametrize(
    ("lose", "why"),
    [(lambda path: path.unlink(), "the file is gone"), (lambda path: path.write_text("id"), "has changed since")],
)
def test_what_could_not_be_compared_is_said(house, lose, why):
    sample("names")
    path = write("first", lines("names"))
    sent(path)
    lose(path)
    report = check_submission(write("second", lines("names", moved(3))))
    assert not report.refused and "could not be compared with first" in said(report, "warning")
    assert why in said(report, "warning")


def test_many_that_are_alike_are_one_line(house):
    sample("names")
    for number in range(5):
        write(f"{number}", lines("names"))
        sent(Path(f"submissions/{number}.csv"), number)
    report = check_submission(write("new", lines("names")))
    assert re.fullmatch(r"byte for byte it is 0 \(.*?\), 1 \(.*?\), 2 \(.*?\), \.\.\.", said(report, "doubtful"))


@pytest.mark.parametrize("note", [{"competition": {**SUBMISSION, "root": 4}}, {"competition": 3}, {"oof": 3}])
def test_a_note_that_was_spoilt_is_one_line(house, note):
    sample("names")
    with pytest.raises(UserError):
        check_submission(write("x", lines("names"), **note))


def test_a_name_that_was_sent_keeps_its_content(house):
    sample("names")
    sent(write("first", lines("names")))
    report = check_submission(write("first", lines("names", moved(3))), yes=True)
    assert report.refused and "had another content under this name" in said(report, "broken")


def test_each_content_that_two_people_sent_under_one_name_counts(house):
    sample("names")
    sent(write("first", lines("names")), hour=1)
    sent(write("first", lines("names", moved(3))), hour=2)
    assert "byte for byte it is first" in said(check_submission(write("second", lines("names"))), "doubtful")


def test_another_competitions_files_are_not_compared(house):
    sample("names")
    path = write("first", lines("names"))
    append(LEDGER, Event("first", "2025-11-21", "sent", file_sha256(path), competition="others", file=str(path)))
    assert not check_submission(write("second", lines("names"))).findings


def test_bytes_that_are_not_those_of_the_note_are_told(house):
    sample("names")
    report = check_submission(write("x", lines("names"), sha256="0"))
    assert not report.refused and "changed after it was written" in said(report, "warning")


# ---- the command ----


def test_the_command_says_it_by_its_exit_status(house, run_cli):
    sample("names")
    good, bad = write("good", lines("names")), write("bad", lines("names")[:-1])
    assert run_cli("comp", "submit", "check", str(good))[0] == run_cli("comp", "submit", "check", "good")[0] == 0
    assert run_cli("comp", "submit", "check", str(bad), "--yes")[0] == 1
    sent(good)
    assert [run_cli("comp", "submit", "check", "good", *yes)[0] for yes in ([], ["--yes"])] == [1, 0]
    before = sorted(Path().rglob("*"))
    for arguments, complaint in (
        ([], "are required: FILE (see"),
        (["nothing"], "there is no submission nothing"),
        (["submissions/ledger.csv"], "has no ledger.json beside it"),
        (["good", "-c", "none.yaml"], "none.yaml"),
        (["good", "data.root=nowhere"], ""),
    ):
        status, out, err = run_cli("comp", "submit", "check", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith("error: ") and complaint in err
    assert sorted(Path().rglob("*")) == before


def test_a_config_names_the_competition_where_no_note_does(house, run_cli):
    sample("names")
    path = write("good", lines("names"))
    path.with_suffix(".json").unlink()
    Path("cells.yaml").write_text("data: {root: input/cells}\n")
    assert run_cli("comp", "submit", "check", str(path))[0] == 2
    assert run_cli("comp", "submit", "check", str(path), "-c", "cells.yaml")[0] == 0


def test_a_config_that_is_asked_for_counts_more_than_the_note(house):
    sample("names")
    Path("cells.yaml").write_text("data: {root: input/cells}\nsubmit: {ledger: other.csv}\n")
    assert (
        check_submission(write("good", lines("names")), config.load("cells.yaml")[0]).competition.ledger == "other.csv"
    )


@pytest.mark.parametrize("content", [b"\xff\xfe", b""])
def test_what_is_no_submission_is_one_line(house, content):
    sample("names")
    path = write("x", lines("names"))
    path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        check_submission(path)


def test_a_check_needs_no_torch():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, comp.submit.check; print('torch' in sys.modules)"],
        cwd=REPO_ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False\n"
