"""submit status: table, plot and picks."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from comp import config
from comp.files import file_sha256, read_json, write_json
from comp.records.blend import OofSummary
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
