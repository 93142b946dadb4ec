"""submit status: table, plot and picks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from comp import config
from comp.files import file_sha256, read_json, write_json
from comp.records.blend import OofSummary
from comp.stats import wilson_interval
from comp.submit.ledger import append
from comp.submit.ledger_lines import Event
from comp.submit.status import status
from tests.submit.recorded import CONFIG, LEDGER, write


def test_status_shows_table_correlation_picks_and_plot(recorded_workspace, run_cli):
    for hour, (id, cv, public) in enumerate([("old", 0.90, 0.88), ("middle", 0.92, 0.92), ("new", 0.95, None)], 1):
        write(id, cv, hour)
        if public:
            assert run_cli("comp", "submit", "log", id, "--public", f"{public}", "-m", f"the {id} one")[0] == 0
    write("unrelated", 0.99, 4, competition="others")
    status, out, _ = run_cli("comp", "submit", "status", *CONFIG)
    rows = [line.split() for line in out.splitlines()]
    assert status == 0 and [row[1] for row in rows[1:4]] == ["middle", "old", "new"]  # what happened last first
    assert "0.9200" in rows[1] and "[0.9100," in rows[1] and out.count("the old one") == 1 and "unrelated" not in out
    assert len({line.index("2025") if "2025" in line else line.index("11-21") for line in out.splitlines()[1:4]}) == 1
    assert "of 2 submissions, too few to be significant" in out and "LB is of 25 images" in out  # half of 50
    assert "its best score, 0.9200, is" in out
    assert "pick 1: new, best CV" in out and "pick 2: middle, best CV and LB together" in out and "on 80 images" in out
    assert "warning: submissions/FINAL is missing" in out
    with Image.open("runs/submissions/cells.png") as image:
        assert image.width > 600 and len(set(image.convert("RGB").get_flattened_data())) > 100


def test_status_counts_cv_images_from_matching_manifest(recorded_workspace, run_cli):
    path = write("x", 0.9)
    assert run_cli("comp", "submit", "log", "x", "--public", "0.9")[0] == 0
    manifest = path.with_suffix(".json")
    oof = OofSummary("accuracy", 0.9, (0.89, 0.91), 0.9, 0.3, 0.01, (0.9,), 60).to_dict()
    for sha256, images in ((file_sha256(path), 60), ("another", 80)):
        write_json(manifest, {**read_json(manifest), "sha256": sha256, "oof": oof})
        counts = status(config.load("cells.yaml")[0]).images
        assert (counts.cv, counts.public) == ({"x": images}, 25)


def test_status_without_both_scores_draws_no_plot(recorded_workspace, run_cli):
    assert "has no submission for cells yet" in run_cli("comp", "submit", "status", *CONFIG)[1]
    write("x", 0.9)
    assert run_cli("comp", "submit", "status", *CONFIG)[0] == 0 and not Path("runs").exists()


def test_status_score_by_other_metric_is_ignored(recorded_workspace, run_cli):
    write("x", 0.9)
    write("y", 5.0, metric="log_loss")
    assert "pick 1: x" in run_cli("comp", "submit", "status", *CONFIG)[1]


def test_status_other_metric_or_missing_data_has_no_interval(recorded_workspace, run_cli):
    write("x", 0.9)
    run_cli("comp", "submit", "log", "x", "--public", "0.9")
    assert "its best" not in (out := run_cli("comp", "submit", "status", *CONFIG, "train.metric=log_loss")[1])
    assert "the noise of LB is unknown: log_loss" in out
    Path("input").rename("elsewhere")
    status, out, _ = run_cli("comp", "submit", "status", *CONFIG)
    assert status == 0 and "the noise of LB is unknown: input/cells is missing" in out
    assert Path("runs/submissions/cells.png").is_file()


def test_commands_broken_ledger_is_one_line(recorded_workspace, run_cli):
    write("x", 0.9)
    LEDGER.write_text(LEDGER.read_text() + "=======\n")
    for command in (["status"], ["log", "x", "--public", "0.9"], ["final", "x"]):
        status, _, err = run_cli("comp", "submit", *command, *CONFIG)
        assert status == 2 and "line 3 is not an event" in err and err.count("\n") == 1


def test_status_score_without_metric_has_range_of_configs_metric(recorded_workspace, run_cli):
    """A file that was made elsewhere has no CV, and so no metric; 1.7 has no interval among accuracies."""
    write("x")
    LEDGER.write_text(LEDGER.read_text() + "x,2025-11-22,scored,cells,,,,,,,,1.7,,\n")
    status, _, err = run_cli("comp", "submit", "status", *CONFIG)
    assert status == 2 and "line 3 is not an event (column public: it is 1.7, and accuracy is between 0 and 1" in err
    assert run_cli("comp", "submit", "status", *CONFIG, "train.metric=log_loss")[0] == 0


def test_status_public_and_private_are_in_their_columns(recorded_workspace, run_cli):
    write("x", 0.9)
    assert run_cli("comp", "submit", "log", "x", "--public", "0.93", "--private", "0.82")[0] == 0
    heading, row = run_cli("comp", "submit", "status", *CONFIG)[1].splitlines()[:2]
    for title, score in (("public", "0.9300"), ("private", "0.8200")):  # right-aligned: the ends agree
        assert heading.index(title) + len(title) == row.index(score) + len(score)


def test_status_manifest_of_the_sent_content_counts_its_images(recorded_workspace, run_cli):
    """The file was sent, then written anew, and its sent content was restored together with its manifest."""
    path = write("x", 0.9)
    assert run_cli("comp", "submit", "log", "x", "--public", "0.9")[0] == 0
    oof = OofSummary("accuracy", 0.9, (0.89, 0.91), 0.9, 0.3, 0.01, (0.9,), 60).to_dict()
    write_json(path.with_suffix(".json"), {**read_json(path.with_suffix(".json")), "oof": oof})
    append(LEDGER, Event("x", "2025-11-23", "written", "another", competition="cells", file=str(path)))
    assert status(config.load("cells.yaml")[0]).images.cv == {"x": 60}


def test_status_submission_of_no_competition_is_listed(recorded_workspace, run_cli):
    write("x", 0.9, competition="")
    assert "pick 1: x" in run_cli("comp", "submit", "status", *CONFIG)[1]


def test_status_table_has_a_numbered_row_per_submission_with_times_in_utc(recorded_workspace):
    path = write("x", 0.9, hour=1)
    sent = Event("x", "2025-11-22T00:30:00+02:00", "sent", file_sha256(path), competition="cells", message="m" * 70)
    append(LEDGER, sent, replace(sent, event="scored", time="2025-11-22T05:00:00", message="", public=0.92, rank=3.0))
    write("y", hour=2)
    Path("submissions/FINAL").write_text("x\n")
    heading, first, second = status(config.load("cells.yaml")[0]).to_text().splitlines()[:3]
    assert heading.split() == ["#", "id", *["written", "(UTC)", "sent", "(UTC)"], "CV", *heading.split()[7:]]
    times = ["11-21", "01:00", "11-21", "22:30"]
    assert first.split() == ["1*", "x", *times, "0.9000", "[0.8900,", "0.9100]", "0.9200", "-", "3", "m" * 60]
    assert second.split() == ["2", "y", "11-21", "02:00", "-", "-", "-", "-", "-"]


def test_status_cv_of_another_metric_is_left_out_with_its_interval(recorded_workspace):
    write("x", 0.9, metric="macro_f1")
    [entry] = status(config.load("cells.yaml")[0]).entries
    assert (entry.metric, entry.cv, entry.cv_low, entry.cv_high) == ("macro_f1", None, None, None)
    [entry] = status(config.load("cells.yaml", ["train.metric=macro_f1"])[0]).entries
    assert (entry.cv, entry.cv_low, entry.cv_high) == (0.9, 0.89, 0.91)


def test_status_says_what_the_second_pick_and_the_interval_need(recorded_workspace):
    write("x", 0.9)
    lines = status(config.load("cells.yaml")[0]).to_text().splitlines()
    assert "LB is of 25 images" in lines and "a pick by CV and LB together needs submissions that have both" in lines
    write("y", 0.8, public=0.8)
    lines = status(config.load("cells.yaml")[0]).to_text().splitlines()
    assert [line[:6] for line in lines if line.startswith(("pick", "a pick"))] == ["pick 1", "pick 2"]


def test_status_noise_of_lb_is_that_of_the_best_score_of_a_share_of_the_rows(recorded_workspace):
    write("x", 0.9, public=0.6)
    write("y", 0.8, public=0.92)
    low, high = wilson_interval(0.92, 25)
    line = f"LB is of 25 images: the 95 % interval of its best score, 0.9200, is [{low:.4f}, {high:.4f}]"
    assert line in status(config.load("cells.yaml")[0]).to_text().splitlines()
    tiny = config.load("cells.yaml", ["submit.public_share=0.001"])[0]
    assert status(tiny).images.public is None


def test_status_final_that_counts_is_named(recorded_workspace):
    path = write("x", 0.9)
    append(LEDGER, Event("x", "2025-11-22", "sent", file_sha256(path), competition="cells", file=str(path)))
    Path("submissions/FINAL").write_text("submissions/x.csv\n")
    assert status(config.load("cells.yaml")[0]).to_text().splitlines()[-1] == "FINAL is x"


@pytest.mark.parametrize("content", ["[]", None])
def test_status_broken_or_missing_manifest_counts_all_training_images(recorded_workspace, content):
    manifest = write("x", 0.9).with_suffix(".json")
    manifest.unlink() if content is None else manifest.write_text(content)
    append(LEDGER, Event("no file", "2025-11-22", "scored", competition="cells", public=0.9))
    assert status(config.load("cells.yaml")[0]).images.cv == {"x": 80, "no file": 80}
