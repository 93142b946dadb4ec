"""Scores recorded by hand with submit log."""

from __future__ import annotations

from pathlib import Path

import pytest

from comp.files import file_sha256
from comp.submit.ledger import latest_entries, read
from tests.submit.recorded import CONFIG, LEDGER, events, write


def test_log_score_records_sent_too(recorded_workspace, run_cli):
    path = write("x", 0.9)
    status, out, _ = run_cli("comp", "submit", "log", str(path), "--public", "0.984", "--rank", "3", "-m", "a, b")
    assert status == 0 and "x sent and scored: public 0.984, rank 3" in out
    assert events() == ["x written", "x sent", "x scored"]
    assert run_cli("comp", "submit", "log", "x", "--private", "0.97")[0] == 0  # by its id
    assert events()[3:] == ["x scored"]
    entry = latest_entries(read(LEDGER))["x"]
    assert (entry.public, entry.private, entry.rank, entry.message) == (0.984, 0.97, 3, "a, b")
    assert entry.sent_sha256 == entry.written_sha256 == file_sha256(path)


def test_log_sent_without_score_is_recorded_once(recorded_workspace, run_cli):
    write("x")
    assert run_cli("comp", "submit", "log", "x", "--sent")[0] == 0
    assert "was already recorded as sent" in run_cli("comp", "submit", "log", "x", "--sent")[1]
    assert events() == ["x written", "x sent"]


def test_log_score_again_is_recorded_once_unless_it_changes(recorded_workspace, run_cli):
    write("x")
    command = ["comp", "submit", "log", "x", "--public", "0.9", "-m", "by hand"]
    assert run_cli(*command)[0] == 0
    assert "x was already recorded as scored: public 0.9" in run_cli(*command)[1]
    assert events() == ["x written", "x sent", "x scored"]
    for change in (["--public", "0.8"], ["--rank", "3"], ["-m", "corrected"]):
        assert run_cli(*command, *change)[0] == 0
    assert events()[3:] == ["x scored"] * 3


def test_log_score_of_missing_file_is_recorded(recorded_workspace, run_cli):
    path = write("x")
    path.unlink()
    assert run_cli("comp", "submit", "log", str(path), "--public", "0.9", *CONFIG)[0] == 0
    assert latest_entries(read(LEDGER))["x"].public == 0.9


def test_log_file_made_by_hand_gets_entry(recorded_workspace, run_cli):
    Path("mine.csv").write_text("id,label\n1,a\n")
    assert run_cli("comp", "submit", "log", "mine.csv", "--public", "0.9", *CONFIG)[0] == 0
    (entry,) = latest_entries(read(LEDGER)).values()
    assert (entry.id, entry.competition, entry.file, entry.public) == ("mine", "cells", "mine.csv", 0.9)
    assert entry.sent_sha256 == file_sha256(Path("mine.csv")) and events() == ["mine sent", "mine scored"]
    Path("page.csv").write_text("nothing of the kind\n")
    assert run_cli("comp", "submit", "log", "page.csv", "--public", "0.9", *CONFIG)[0] == 2 and len(events()) == 2


def test_log_other_file_of_same_name_is_refused(recorded_workspace, run_cli):
    path = write("x", 0.9)
    Path("x.csv").write_text("id,label\nx,b\n")
    status, _, err = run_cli("comp", "submit", "log", "x.csv", "--public", "0.9", *CONFIG)
    assert status == 2 and "x.csv is not submissions/x.csv" in err and events() == ["x written"]
    Path("x.csv").write_bytes(path.read_bytes())  # a copy is the same submission
    assert run_cli("comp", "submit", "log", "x.csv", "--public", "0.9", *CONFIG)[0] == 0


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_log_manifest_of_missing_file_names_ledger(recorded_workspace, run_cli, suffix):
    """Also by id, and where the submission is JSON itself."""
    path = write("x", 0.9)
    if suffix == ".json":
        path.with_suffix(".json").rename("submissions/x.about.json")
        path.rename("submissions/x.json")
    elsewhere = LEDGER.rename("elsewhere.csv")
    manifest = next(Path("submissions").glob("x.*json")) if suffix == ".csv" else Path("submissions/x.about.json")
    manifest.write_text(manifest.read_text().replace(str(LEDGER), str(elsewhere)))
    assert run_cli("comp", "submit", "log", "x", "--public", "0.9")[0] == 0
    path.with_suffix(suffix).unlink()
    assert run_cli("comp", "submit", "log", "x", "--public", "0.8")[0] == 0
    assert [event.public for event in read(elsewhere)] == [None, None, 0.9, 0.8] and not LEDGER.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", "--public", "0.9"], "'' names no submission"),
        (["y", "--public", "0.9"], "y is not in submissions/ledger.csv; available: x"),
        (["y.csv", "--public", "0.9"], "y.csv is not in submissions/ledger.csv"),
        (["x"], "no score given; pass --public SCORE or --sent"),
        (["x", "--public", "98.4"], "--public 98.4: accuracy is between 0 and 1"),
        (["x", "--private", "-1"], "--private -1: accuracy"),
        (["x", "--public", "nan"], "--public nan: accuracy"),
        (["x", "--public", "much"], "--public"),
        (["x", "--public", "1", "--rank", "0"], "ranks start at 1"),
    ],
)
def test_log_invalid_arguments_record_nothing(recorded_workspace, run_cli, arguments, message):
    write("x", 0.9)
    before = LEDGER.read_bytes()
    status, out, err = run_cli("comp", "submit", "log", *arguments, *CONFIG)
    assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith("error: ") and message in err
    assert LEDGER.read_bytes() == before


def test_log_log_loss_may_exceed_one(recorded_workspace, run_cli):
    write("x", 1.5, metric="log_loss")
    assert run_cli("comp", "submit", "log", "x", "--public", "1.7")[0] == 0


def test_log_file_made_by_hand_has_range_of_configs_metric(recorded_workspace, run_cli):
    Path("mine.csv").write_text("id,label\n1,a\n")
    status, _, err = run_cli("comp", "submit", "log", "mine.csv", "--public", "1.7", *CONFIG)
    assert status == 2 and "--public 1.7: accuracy is between 0 and 1" in err and not LEDGER.exists()
    assert run_cli("comp", "submit", "log", "mine.csv", "--public", "1.7", *CONFIG, "train.metric=log_loss")[0] == 0


def test_log_score_belongs_to_the_content_that_was_sent(recorded_workspace, run_cli):
    path = write("x", 0.9)
    sent = file_sha256(path)
    assert run_cli("comp", "submit", "log", "x", "--sent")[0] == 0
    path.write_text("id,label\nx,b\n")
    assert run_cli("comp", "submit", "log", "x", "--public", "0.9", "--private", "0.8")[0] == 0
    scored = read(LEDGER)[-1]
    assert (scored.event, scored.sha256, scored.public, scored.private) == ("scored", sent, 0.9, 0.8)


def test_log_best_rank_and_ends_of_the_range_are_recorded(recorded_workspace, run_cli):
    write("x", 0.9)
    assert run_cli("comp", "submit", "log", "x", "--public", "1", "--private", "0", "--rank", "1")[0] == 0
    entry = latest_entries(read(LEDGER))["x"]
    assert (entry.public, entry.private, entry.rank) == (1, 0, 1)


def test_log_of_a_lost_file_has_the_hash_that_was_written(recorded_workspace, run_cli):
    path = write("x", 0.9)
    written = file_sha256(path)
    path.unlink()
    assert run_cli("comp", "submit", "log", "x", "--public", "0.9")[0] == 0
    assert [event.sha256 for event in read(LEDGER)] == [written] * 3
