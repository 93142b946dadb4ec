"""A submission that must not be sent is refused before it is sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from comp import config
from comp.errors import UserError
from comp.files import file_sha256
from comp.records.blend import OofSummary
from comp.records.submission import Competition
from comp.submit.check import SubmissionReport, check_submission
from comp.submit.format_checks import SubmissionIssue
from tests.conftest import REPO_ROOT
from tests.submit.cells import (
    COMPETITION,
    LEDGER,
    ROWS,
    issue_texts,
    lines,
    record,
    rows_with_changes,
    write,
    write_sample,
)


def test_check_submission_good_file_has_no_issues(cells_workspace, form):
    write_sample(form)
    report = check_submission(write("good", lines(form)))
    assert not report.issues and not report.is_refused and "it may be sent" in report.to_text()
    assert (report.id, report.rows, report.sha256) == ("good", 80, file_sha256(report.file))
    assert report.competition == Competition("cells", "input/cells", str(LEDGER))


@pytest.mark.parametrize("changes", [{"competition": {**COMPETITION, "root": 4}}, {"competition": 3}, {"oof": 3}])
def test_check_submission_damaged_manifest_is_one_line(cells_workspace, changes):
    write_sample("names")
    with pytest.raises(UserError):
        check_submission(write("x", lines("names"), **changes))


def test_check_submission_file_changed_after_writing_is_a_warning(cells_workspace):
    write_sample("names")
    report = check_submission(write("x", lines("names"), sha256="0"))
    assert not report.is_refused and "changed after it was written" in issue_texts(report, "warning")


def test_check_command_exit_status(cells_workspace, run_cli):
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


def test_check_command_config_replaces_missing_manifest(cells_workspace, run_cli):
    write_sample("names")
    path = write("good", lines("names"))
    path.with_suffix(".json").unlink()
    Path("cells.yaml").write_text("data: {root: input/cells}\n")
    assert run_cli("comp", "submit", "check", str(path))[0] == 2
    assert run_cli("comp", "submit", "check", str(path), "-c", "cells.yaml")[0] == 0


def test_check_submission_config_overrides_manifest(cells_workspace):
    write_sample("names")
    Path("cells.yaml").write_text("data: {root: input/cells}\nsubmit: {ledger: other.csv}\n")
    assert (
        check_submission(write("good", lines("names")), config.load("cells.yaml")[0]).competition.ledger == "other.csv"
    )


@pytest.mark.parametrize("content", [b"\xff\xfe", b""])
def test_check_submission_unreadable_file_is_one_line(cells_workspace, content):
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


@pytest.mark.parametrize("metric", ["accuracy", ""], ids=["its metric", "that of the config"])
@pytest.mark.parametrize("command", [["check"], ["push", "-m", "x", "submit.kaggle=cells"]])
def test_check_and_push_wrong_score_in_ledger_is_one_line(cells_workspace, run_cli, command, metric):
    """98.4 would be better than every other score."""
    write_sample("names")
    record(write("good", lines("names")), event="written", public=0.984, metric=metric)
    LEDGER.write_text(LEDGER.read_text().replace("0.984", "98.4"))
    Path("cells.yaml").write_text("data: {root: input/cells}\n")
    status, out, err = run_cli("comp", "submit", command[0], "good", "-c", "cells.yaml", *command[1:])
    assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith(f"error: {LEDGER}, line 2 is not an event")
    assert "column public: it is 98.4, and accuracy is between 0 and 1: write 0.984" in err


@pytest.mark.parametrize(
    ("severities", "verdict"),
    [
        ((), "it may be sent"),
        (("info", "warning"), "it may be sent"),
        (("suspicious",), "it would probably waste a submission; to send it all the same, use --yes"),
        (("error", "suspicious"), "it must not be sent"),
    ],
)
def test_report_text_ends_with_the_verdict(severities, verdict):
    issues = tuple(SubmissionIssue(severity, severity) for severity in severities)
    report = SubmissionReport(Path("x.csv"), "x", "5e", None, Competition("cells", "input/cells", "l.csv"), 1, issues)
    assert report.to_text().splitlines()[-1] == verdict


def test_check_submission_errors_come_first(cells_workspace):
    write_sample("names")
    report = check_submission(write("x", [line + "\r" for line in lines("names")[:-1]], sha256="0"))
    assert [issue.severity for issue in report.issues] == ["error", "warning", "warning"]


def test_check_submission_of_several_classes_per_row_has_no_class_shares(cells_workspace):
    write_sample("names")
    Path("cells.yaml").write_text("data: {root: input/cells}\nsubmit: {answer: 'best:2'}\n")
    best = ["id,label", *(f"{id},{'baso eos' if row else 'eos baso'}" for row, (id, _) in enumerate(ROWS))]
    assert not check_submission(write("x", best), config.load("cells.yaml")[0]).issues


def test_check_submission_config_and_manifest_compare_by_the_metric_of_the_manifests_score(cells_workspace):
    """Without a score in the manifest it is the config's metric: of log losses, the lower one is better."""
    write_sample("names")
    for name, count, public in (("low", 9, 0.5), ("high", 4, 0.9)):
        record(write(name, lines("names", rows_with_changes(count))), public=public)
    Path("cells.yaml").write_text("data: {root: input/cells}\ntrain: {metric: log_loss}\n")
    by_config = config.load("cells.yaml")[0]
    accuracy = OofSummary("accuracy", 0.9, (0.8, 0.95), 0.9, 0.3, 0.01, (0.9,), 100).to_dict()
    for changes, settings, best in (({}, None, "high"), ({}, by_config, "low"), ({"oof": accuracy}, by_config, "high")):
        report = check_submission(write("new", lines("names"), **changes), settings)
        assert f"differs from {best} " in issue_texts(report, "info")
