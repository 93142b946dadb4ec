"""The file that names the submission that counts."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from comp.files import file_sha256
from comp.records.submission import Competition
from comp.submit.final import final_warning, read_final_id, write_final
from comp.submit.ledger import LedgerEntry, append
from comp.submit.ledger_lines import Event
from tests.submit.recorded import CONFIG, LEDGER, write


def test_final_names_submission_and_warns(recorded_workspace, run_cli):
    path = write("x", 0.9)
    final = Path("submissions/FINAL")
    status, _, err = run_cli("comp", "submit", "final", "x")
    assert status == 0 and final.read_text() == "submissions/x.csv\n" and "which was never sent" in err
    run_cli("comp", "submit", "log", "x", "--sent")
    status, _, err = run_cli("comp", "submit", "final", str(path))
    assert (status, err) == (0, "") and "FINAL is x" in run_cli("comp", "submit", "status", *CONFIG)[1]
    path.write_text("other")
    assert "has changed since it was sent" in run_cli("comp", "submit", "status", *CONFIG)[1]
    path.unlink()
    assert "x.csv is missing" in run_cli("comp", "submit", "status", *CONFIG)[1]
    write("unrelated", competition="others")
    final.write_text("submissions/unrelated.csv\n")
    assert "names unrelated, which belongs to others" in run_cli("comp", "submit", "status", *CONFIG)[1]
    final.write_bytes(b"\xff")
    assert "which is not in the ledger" in run_cli("comp", "submit", "status", *CONFIG)[1]
    final.write_text("submissions/typo.csv\n")
    assert "names 'typo', which is not in the ledger" in run_cli("comp", "submit", "status", *CONFIG)[1]


def test_final_unknown_submission_is_refused(recorded_workspace, run_cli):
    write("x", 0.9)
    run_cli("comp", "submit", "final", "x")
    status, _, err = run_cli("comp", "submit", "final", "y", *CONFIG)
    assert status == 2 and err == "error: y is not in submissions/ledger.csv; available: x\n"
    assert Path("submissions/FINAL").read_text() == "submissions/x.csv\n"


def test_final_is_compared_with_the_sent_content(recorded_workspace, run_cli):
    """The file was sent, written anew with other content, and is compared with what was sent."""
    path = write("x", 0.9)
    sent = path.read_bytes()
    run_cli("comp", "submit", "log", "x", "--sent")
    path.write_text("id,label\nx,b\n")
    append(LEDGER, Event("x", "2025-11-22", "written", file_sha256(path), competition="cells", file=str(path)))
    err = run_cli("comp", "submit", "final", "x")[2]
    assert "submissions/x.csv has changed since it was sent" in err
    path.write_bytes(sent)
    assert run_cli("comp", "submit", "final", "x")[2] == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names '', which is not in the ledger"),
        (b"a\x00b.csv", r"names 'a\x00b.csv', which is not in the ledger"),
        (b"submissions/x.csv\nsubmissions/y.csv\n", r"x.csv\nsubmissions/y.csv', which is not in the ledger"),
        (b"x\n", "which was never sent"),
        (b"." * 300 + b".csv", "which is not in the ledger"),
        (b"z" * 20_000, "has 20,000 bytes, more than the 10,000 that are read"),
        (None, "FINAL is a pipe"),
    ],
)
def test_status_wrong_final_is_one_line(recorded_workspace, run_cli, content, message):
    write("x", 0.9)
    final = Path("submissions/FINAL")
    os.mkfifo(final) if content is None else final.write_bytes(content)
    status, out, err = run_cli("comp", "submit", "status", *CONFIG)
    lines = [line for line in (out + err).splitlines() if "FINAL" in line]
    assert len(lines) == 1 and message in lines[0] and len(lines[0]) < 500
    assert (status == 2) == err.startswith("error: ")


def test_final_holds_the_path_or_else_the_id(tmp_path):
    """An id may have a point in it, as a path has."""
    final = tmp_path / "FINAL"
    for entry in (LedgerEntry("a/x.1", file="submissions/a/x.1.csv"), LedgerEntry("a/x.1")):
        write_final(final, entry)
        assert final.read_text() == f"{entry.file or entry.id}\n" and read_final_id(final) == "a/x.1"
    assert read_final_id(tmp_path / "missing") is None


def test_final_warning_accepts_an_entry_of_no_competition(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,label\n")
    sent = LedgerEntry("x", file=str(path), sent="2025-11-21", sent_sha256=file_sha256(path))
    competition = Competition("cells", "input/cells", str(tmp_path / "ledger.csv"))
    competition.final.write_text("x\n")
    for name, belongs in (("", True), ("cells", True), ("others", False)):
        assert (final_warning(competition, {"x": replace(sent, competition=name)}) is None) == belongs
