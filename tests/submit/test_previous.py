"""A submission is compared with the earlier ones of its competition."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comp.files import file_sha256
from comp.submit.check import check_submission
from comp.submit.ledger import append
from comp.submit.ledger_lines import Event
from tests.submit.cells import (
    LEDGER,
    LOG_LOSS,
    ROWS,
    issue_texts,
    lines,
    record,
    rows_with_changes,
    severities,
    write,
    write_sample,
)


def test_previous_same_bytes_are_suspicious(cells_workspace, form):
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


def test_previous_same_labels_are_suspicious_if_labels_are_scored(cells_workspace):
    write_sample("probabilities")
    record(write("first", lines("probabilities")))
    more_confident = lines("probabilities", confidence=0.9)
    report = check_submission(write("second", more_confident))
    assert report.is_refused and "its labels are those of first" in issue_texts(report, "suspicious")
    report = check_submission(write("second", more_confident, oof=LOG_LOSS))
    assert not report.is_refused and "which changes the log_loss" in issue_texts(report, "warning")


def test_previous_same_labels_in_another_order_are_suspicious(cells_workspace):
    write_sample("names")
    record(write("first", lines("names")))
    report = check_submission(write("second", lines("names", ROWS[::-1])))
    assert report.is_refused and "its labels are those of first" in issue_texts(report, "suspicious")


def test_previous_rows_that_differ_from_best_are_listed(cells_workspace, form):
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


def test_previous_file_not_sent_is_a_warning(cells_workspace, form):
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
def test_previous_unreadable_file_is_a_warning(cells_workspace, damage, reason):
    write_sample("names")
    path = write("first", lines("names"))
    record(path)
    damage(path)
    report = check_submission(write("second", lines("names", rows_with_changes(3))))
    assert not report.is_refused and "could not be compared with first" in issue_texts(report, "warning")
    assert reason in issue_texts(report, "warning")


def test_previous_many_duplicates_are_one_issue(cells_workspace):
    write_sample("names")
    for number in range(5):
        write(f"{number}", lines("names"))
        record(Path(f"submissions/{number}.csv"), number)
    report = check_submission(write("new", lines("names")))
    assert re.fullmatch(
        r"its bytes are those of 0 \(.*?\), 1 \(.*?\), 2 \(.*?\), \.\.\.", issue_texts(report, "suspicious")
    )


def test_previous_sent_name_with_other_content_is_an_error(cells_workspace):
    write_sample("names")
    record(write("first", lines("names")))
    report = check_submission(write("first", lines("names", rows_with_changes(3))), allow_suspicious=True)
    assert report.is_refused and "had another content under this name" in issue_texts(report, "error")


def test_previous_every_content_sent_under_one_name_counts(cells_workspace):
    write_sample("names")
    record(write("first", lines("names")), hour=1)
    record(write("first", lines("names", rows_with_changes(3))), hour=2)
    assert "its bytes are those of first" in issue_texts(
        check_submission(write("second", lines("names"))), "suspicious"
    )


def test_previous_other_competition_is_not_compared(cells_workspace):
    write_sample("names")
    path = write("first", lines("names"))
    append(LEDGER, Event("first", "2025-11-21", "sent", file_sha256(path), competition="others", file=str(path)))
    assert not check_submission(write("second", lines("names"))).issues


def test_previous_columns_are_read_by_name(cells_workspace):
    """The sample's columns are not in the order of the classes: a file that was sent is compared by their names."""
    columns = ["nan", "baso", "mono", "eos"]

    def reordered(rows) -> list[str]:
        cells = [line.split(",") for line in lines("probabilities", rows)]
        order = [0, *(cells[0].index(column) for column in columns)]
        return [",".join(row[index] for index in order) for row in cells]

    Path("input/cells/sample_submission.csv").write_text("\n".join(reordered(ROWS)))
    record(write("first", reordered(rows_with_changes(40))), public=0.9)
    report = check_submission(write("new", reordered(ROWS)))
    assert "img_0.jpg eos -> baso, img_1.jpg mono -> eos, img_2.jpg nan -> mono" in issue_texts(report, "info")
    rows = [(id, "baso") if row < 70 else (id, label) for row, (id, label) in enumerate(ROWS)]
    assert "baso has 90.0% instead of 25.0%" in issue_texts(check_submission(write("x", reordered(rows))), "suspicious")


def test_previous_best_by_cv_ignores_the_cv_of_another_metric(cells_workspace):
    write_sample("names")
    for name, count, metric, cv in (("loss", 9, "log_loss", 1.5), ("best", 4, "accuracy", 0.9), ("low", 6, "", 0.8)):
        record(write(name, lines("names", rows_with_changes(count))), metric=metric, cv=cv)
    assert "differs from best" in issue_texts(check_submission(write("new", lines("names"))), "info")


def test_previous_sent_content_is_compared_after_another_was_written(cells_workspace):
    write_sample("names")
    path = write("first", lines("names"))
    record(path, hour=1)
    path = write("first", lines("names", rows_with_changes(9)))
    record(path, hour=2, event="written")
    path = write("first", lines("names"))  # restored
    same_bytes = check_submission(write("second", lines("names")))
    assert "its bytes are those of first" in issue_texts(same_bytes, "suspicious")
    same_labels = check_submission(write("third", lines("names", ROWS[::-1])))
    assert "its labels are those of first" in issue_texts(same_labels, "suspicious")


def test_previous_without_any_score_the_last_sent_is_compared(cells_workspace):
    write_sample("names")
    for hour, (name, count) in enumerate([("first", 9), ("last", 4)]):
        record(write(name, lines("names", rows_with_changes(count))), hour=hour)
    record(write("draft", lines("names", rows_with_changes(2))), hour=5, event="written")  # it was not sent
    [issue] = check_submission(write("new", lines("names"))).issues
    assert issue.severity == "info" and issue.text.startswith("differs from last (sent on ")


@pytest.mark.parametrize(("form", "metric"), [("names", "log_loss"), ("probabilities", "macro_f1")])
def test_previous_same_labels_are_suspicious_unless_probabilities_are_scored(cells_workspace, form, metric):
    write_sample(form)
    record(write("first", lines(form)))
    other = lines(form, ROWS[::-1], confidence=0.9)
    report = check_submission(write("second", other, oof={**LOG_LOSS, "metric": metric}))
    assert issue_texts(report, "suspicious").startswith("its labels are those of first")


def test_previous_rows_that_differ_are_all_listed_if_they_are_few(cells_workspace):
    write_sample("names")
    record(write("first", lines("names", rows_with_changes(3))))
    text = issue_texts(check_submission(write("new", lines("names"))), "info")
    assert text.endswith("in 3 of 80 rows: img_0.jpg eos -> baso, img_1.jpg mono -> eos, img_2.jpg nan -> mono")


def test_previous_file_of_another_format_or_rows_is_not_compared_row_by_row(cells_workspace):
    write_sample("names")
    record(write("short", lines("names")[:-1]))
    assert not check_submission(write("new", lines("names"))).issues
    record(write("other", ["id,label", "img_0.jpg,unknown"]), public=0.9)
    [issue] = check_submission(write("new", lines("names"))).issues
    assert issue.severity == "warning" and issue.text.startswith("could not be compared with other (sent on ")
    assert issue.text.endswith("public 0.9): its file has another format")
