"""`comp track sync` with the real client, offline: a five-fold run, its submission and a score, read back."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from tests.observers.wandb_files import read_offline_runs
from tests.track.five_folds import retrain_fold, write_five_folds, write_submission_of

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def synced(tiny_dataset, tmp_path_factory):
    """A workspace in which everything was written offline, and the W&B runs that are read back.

    W&B's service runs in another directory already: it takes a relative path as below its own.
    """
    import wandb

    from comp.submit import ledger
    from comp.submit.competition import from_config
    from comp.submit.manual_score import resolve_entry, score_events
    from comp.track.sync import sync

    workspace = tmp_path_factory.mktemp("synced")
    shutil.copytree(tiny_dataset, workspace / "data" / "tiny")
    (workspace / "configs").mkdir()
    (workspace / "configs" / "deep_efficientnet.yaml").write_text("# x\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", KEY)
        patch.delenv("WANDB_MODE")
        wandb.teardown()
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        wandb.setup()
        patch.chdir(workspace)
        run = write_five_folds("five", workspace / "data" / "tiny")  # an absolute path in the config
        path = write_submission_of(run)
        competition = from_config(run.config)
        entry = resolve_entry(str(path), competition)
        ledger.append(Path(competition.ledger), *score_events(entry, public=0.75, message="first try"))
        report = sync(None, "offline")
        assert (report.written, report.unchanged, report.left_out) == (8, 0, [])
        written = read_offline_runs(workspace / "runs")
    return workspace, written


def test_sync_writes_a_run_per_fold_summary_and_submission_with_groups_and_job_types(synced):
    _, runs = synced
    described = {name: (run.run.project, run.run.run_group, run.run.job_type) for name, run in runs.items()}
    assert described == {
        **{f"five-fold{fold}": ("tiny", "five", "train") for fold in range(5)},
        "five-summary": ("tiny", "five", "summary"),
        "five-infer": ("tiny", "five", "infer"),
        "five-submit": ("tiny", "five", "submit"),
    }


def test_sync_fold_has_its_epochs_config_and_confusion(synced):
    _, runs = synced
    fold = runs["five-fold3"]
    rows = [row for row in fold.history if "val_loss" in row]
    assert [(row["_step"], row["epoch"], row["val_score"]) for row in rows] == [(1, 1, 0.25), (2, 2, 0.5), (3, 3, 0.75)]
    assert fold.config["process"]["command"] == "train.py -c x.yaml data.root=tiny"
    assert fold.config["train"]["epochs"] == 50 and fold.config["data"]["root"] == "tiny"
    assert fold.summary["status"] == "done" and fold.summary["confusion_table/nrows"] == 64


def test_sync_summary_has_scores_intervals_and_tables(synced):
    _, runs = synced
    summary = runs["five-summary"].summary
    assert summary["oof"] == pytest.approx(38 / 48) and summary["oof_low"] < summary["oof"] < summary["oof_high"]
    assert summary["macro_f1"] == pytest.approx(summary["balanced_accuracy"], abs=0.05)
    per_class = runs["five-summary"].table("per_class")
    assert [row["images"] for row in per_class] == [6] * 8 and 0 < per_class[0]["recall"] < 1


def test_sync_mistakes_are_the_wrong_answers_most_confident_first_with_pictures(synced):
    from PIL import Image

    _, runs = synced
    table = runs["five-summary"].table("mistakes")
    assert len(table) == 10 and all(row["true"] != row["answer"] for row in table)
    confidence = [row["confidence"] for row in table]
    assert confidence == sorted(confidence, reverse=True) and confidence[0] > row_probability(table[0])
    [artifact] = [item for item in runs["five-summary"].of_type("artifact") if item.name.startswith("mistakes")]
    pictures = [entry for entry in artifact.manifest.contents if entry.path.endswith(".jpg")]
    with Image.open(synced[0] / pictures[0].local_path) as picture:
        assert picture.size == (96, 96) and len(pictures) == 10


def row_probability(row: dict) -> float:
    return row["probability of true"]


def test_sync_lineage_leads_from_the_dataset_to_the_submission(synced):
    _, runs = synced
    data = [("dataset", "dataset-tiny"), ("folds", "folds-tiny")]
    weights = [("model", f"weights-five-fold{fold}") for fold in range(5)]
    oof, submission = ("predictions", "oof-five"), ("submission", "submission-five")
    assert runs["five-fold2"].artifacts(used=True) == data and runs["five-fold2"].artifacts(used=False) == [weights[2]]
    summary, infer, submit = (runs[f"five-{name}"] for name in ("summary", "infer", "submit"))
    assert (summary.artifacts(used=True), summary.artifacts(used=False)) == ([*data, *weights], [oof])
    assert (infer.artifacts(used=True), infer.artifacts(used=False)) == ([oof, *weights], [submission])
    assert (submit.artifacts(used=True), submit.artifacts(used=False)) == ([submission], [])
    assert submit.summary["public"] == 0.75 and submit.summary["cv"] == pytest.approx(38 / 48)
    digests = {
        artifact.digest for run in runs.values() for artifact in run.of_type("artifact") if artifact.name == "oof-five"
    }
    assert len(digests) == 1  # W&B keeps one version of it, which connects the runs


def test_sync_dataset_lists_images_by_hash_and_has_no_image(synced):
    workspace, runs = synced
    [dataset] = [item for item in runs["five-fold0"].of_type("artifact") if item.type == "dataset"]
    [entry] = dataset.manifest.contents
    lines = (workspace / entry.local_path).read_text().splitlines()
    assert entry.path == "images.csv" and len(lines) == 1 + 48 + 8
    name, label, sha = lines[1].split(",")
    assert label and len(sha) == 32 and (workspace / "data/tiny/train" / label / name).is_file()


def test_sync_files_have_no_secret_and_no_path_of_the_machine(synced):
    workspace, runs = synced
    private = [KEY, "secret-place", "secret-host", str(workspace), str(Path(__file__).parents[2]), str(Path.home())]
    sent = [run.file for run in runs.values()]
    sent += [file for run in runs.values() for file in (run.file.parent / "files").rglob("*") if file.is_file()]
    sent += [path for path in (workspace / "runs").rglob("artifacts/staging/*")]
    assert len(sent) > 20
    for file in sent:
        content = file.read_bytes()
        assert not [text for text in private if text.encode() in content], file
        assert platform.node().encode() not in content or len(platform.node()) < 4, file
    assert {run.run.host for run in runs.values()} == {"-"}


def test_sync_again_writes_only_what_changed(synced, monkeypatch):
    from comp.runs import read_run
    from comp.track.sync import sync

    workspace, runs = synced
    monkeypatch.chdir(workspace)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert (report := sync(None, "offline")).written == 0 and report.unchanged == 8
    run = read_run(Path("runs/five"))
    retrain_fold(run, 4)
    report = sync([run], "offline")  # the fold, the summary that has its weights, and a submission of other weights
    assert (report.written, report.unchanged) == (3, 5)
    again = read_offline_runs(workspace / "runs")
    assert {name: run.run.run_id for name, run in again.items()} == {name: run.run.run_id for name, run in runs.items()}
    assert ("model", "weights-five-fold4") not in again["five-infer"].artifacts(used=True)


def test_sync_leaves_out_what_is_not_finished_or_broken(synced, tmp_path, monkeypatch, capsys):
    from comp.records.run import FoldRecord
    from comp.runs import list_runs
    from comp.track.sync import sync

    shutil.copytree(synced[0], tmp_path / "w", ignore=shutil.ignore_patterns("wandb"))
    monkeypatch.chdir(tmp_path / "w")
    fold_json = Path("runs/five/fold0/fold.json")
    fold_json.write_text(fold_json.read_text().replace('"done"', '"running"'))
    Path("runs/five/metrics.json").write_text("{")
    Path("runs/broken").mkdir()
    Path("runs/broken/run.json").write_text("[]")
    assert FoldRecord.read(fold_json).status == "running" and len(list_runs()) == 2
    report = sync(None, "offline")
    assert report.written == 6 and len(report.left_out) == 3
    assert "five fold 0 is not finished" in "\n".join(report.left_out)


def test_sync_command_without_login_is_one_error(synced, monkeypatch, run_cli):
    monkeypatch.chdir(synced[0])
    for name in ("WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(synced[0]))
    status, out, err = run_cli("comp", "track", "sync")
    assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith("error: no W&B login; run `wandb login`")
