"""infer.py on two small runs: what it writes, what it prints, and what it refuses."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from comp.engine.views import TTA
from comp.ensemble.blend import METHODS, Blend, apply_blend
from comp.files import read_json, write_json
from comp.metrics import score
from comp.records.blend import BlendRecord
from comp.records.submission import SubmissionManifest
from comp.rows import Rows
from comp.tasks import single_label
from tests.conftest import REPO_ROOT
from tests.observers.wandb_files import read_offline_runs
from tests.predictions import read_table


@pytest.fixture
def without_plots(monkeypatch) -> None:
    """The plots of a blend take as long as all the rest."""
    for draw in ("draw_blend", "draw_reliability"):
        monkeypatch.setattr(f"comp.ensemble.plots.{draw}", lambda *_: None)


def read_manifest(name: str) -> SubmissionManifest:
    return SubmissionManifest.read(Path(f"submissions/{name}.json"))


def read_blend(name: str) -> BlendRecord:
    return BlendRecord.read(Path(f"runs/blends/{name}/blend.json"))


def class_names() -> list[str]:
    return sorted(path.name for path in Path("input/tiny/train").iterdir())


def change_json(path: Path, **changes: Any) -> None:
    write_json(path, {**read_json(path), **changes})


@pytest.mark.parametrize("method", METHODS)
def test_infer_writes_what_its_manifest_makes_of_the_fold_models_predictions(method, trained_copy, run_cli):
    status, out, err = run_cli("infer.py", "anna", "bert", "--blend", method, "--tta", "flips", "--name", "both")
    assert (status, err) == (0, "") and f"{method} of 2" in out
    manifest = read_manifest("both")
    blend = Blend.from_spec(manifest.blend, manifest.classes)

    def test_table(run: str, view: str, fold: int) -> pd.DataFrame:
        return read_table(Path(f"runs/{run}/predictions/{view}/test_fold{fold}.npz"), manifest.classes)

    view_probabilities = [
        np.stack(
            [[test_table(member.name, view, fold).to_numpy(np.float32) for view in member.views] for fold in range(3)]
        )
        for member in blend.members
    ]
    images = test_table(blend.members[0].name, "identity", 0).index
    class_index = dict(
        zip(images, apply_blend(blend, view_probabilities, Rows.of_images(images)).argmax(1), strict=True)
    )
    submission = pd.read_csv("submissions/both.csv", dtype=str)
    assert [int(label) for label in submission["label"]] == [class_index[image] for image in submission["image"]]
    assert manifest.sha256 == hashlib.sha256(Path("submissions/both.csv").read_bytes()).hexdigest()
    assert {path.name for path in Path("runs/blends/both").iterdir()} == {
        *("blend.json", "oof.npz", "oof.csv", "pairs.csv", "members.csv", "blend.png", "reliability.png")
    }


@pytest.mark.parametrize("method", ["mean", "greedy"])
def test_infer_score_in_the_manifest_is_of_the_cross_fitted_table(method, trained_copy, without_plots, run_cli):
    run_cli("infer.py", "anna", "bert", "--blend", method, "--name", "both")
    table = read_table(Path("runs/blends/both/oof.npz"), class_names())
    targets, probabilities = single_label(class_names()).to_arrays(table)
    oof = read_manifest("both").oof
    assert oof.score == pytest.approx(score("accuracy", targets, probabilities)) and len(table) == oof.images == 48
    assert oof.log_loss == pytest.approx(score("log_loss", targets, probabilities), rel=1e-5)
    assert oof.interval[0] <= oof.score <= oof.interval[1]
    record = read_blend("both")
    assert record.complete and record.oof == oof
    assert {member.run for member in record.members} <= {"anna", "bert"}


def test_infer_manifest_names_everything_the_file_came_from(trained_copy, without_plots, run_cli):
    run_cli("infer.py", "anna", "--tta", "flips")
    manifest = read_manifest("anna+flips")
    run_json = read_json(Path("runs/anna/run.json"))
    assert manifest.id == "anna+flips" and manifest.command == "infer.py anna --tta flips"
    assert manifest.competition.to_dict() == {
        "name": "tiny",
        "root": "input/tiny",
        "ledger": "submissions/ledger.csv",
        "kaggle": None,
        "per_day": 5,
        "public_share": 1.0,
    }
    [part], [member] = manifest.blend.parts, manifest.members
    assert part.views == tuple(TTA["flips"]) and part.weight == 1 and part.temperature != 1
    assert member.weights_sha256 == {
        str(fold): hashlib.sha256(Path(f"runs/anna/fold{fold}/weights.pt").read_bytes()).hexdigest()
        for fold in range(3)
    }
    assert manifest.folds.sha256 == run_json["folds_sha256"]
    assert manifest.folds.sha256 == hashlib.sha256(Path("folds/tiny.csv").read_bytes()).hexdigest()
    assert manifest.images.train_list_sha256 == run_json["image_list_sha256"]
    assert {"python", "torch", "timm", "numpy"} <= set(manifest.versions)
    assert list(read_json(Path("submissions/anna+flips.json"))) == [
        *("schema", "id", "file", "sha256", "created", "command", "competition", "classes", "full", "blend"),
        *("members", "folds", "images", "oof", "git", "versions"),
    ]


def test_infer_order_of_runs_changes_no_byte(trained_copy, without_plots, run_cli):
    for name, runs in (("x", ("anna", "bert")), ("y", ("bert", "anna"))):
        run_cli("infer.py", *runs, "--blend", "greedy", "--name", name)
    assert Path("submissions/x.csv").read_bytes() == Path("submissions/y.csv").read_bytes()
    assert Path("runs/blends/x/oof.npz").read_bytes() == Path("runs/blends/y/oof.npz").read_bytes()
    assert read_manifest("x").blend == read_manifest("y").blend


def test_infer_mean_without_temperatures_is_the_plain_mean(trained_copy, without_plots, run_cli):
    run_cli("infer.py", "anna", "bert", "--no-temperature", "--name", "plain")
    assert [part.temperature for part in read_manifest("plain").blend.parts] == [1, 1]
    anna, bert = (
        read_table(Path(f"runs/{name}/predictions/identity/oof.npz"), class_names())[class_names()].sort_index()
        for name in ("anna", "bert")
    )
    blended = read_table(Path("runs/blends/plain/oof.npz"), class_names())[class_names()]
    mean = (anna + bert) / 2
    assert np.allclose(blended, mean, atol=1e-6) and list(blended.index) == list(mean.index)


def test_infer_member_that_keeps_the_best_epoch_makes_the_blend_optimistic(trained_copy, without_plots, run_cli):
    config = Path("runs/bert/config.yaml")
    config.write_text(config.read_text().replace("keep: last", "keep: best"))
    out = run_cli("infer.py", "anna", "bert", "--name", "lucky")[1]
    assert "OOF score is optimistic: each fold's best epoch was chosen on the images it is scored on, in bert\n" in out
    assert read_blend("lucky").optimistic
    assert "optimistic" not in run_cli("infer.py", "anna")[1]
    assert not read_blend("anna").optimistic


def test_infer_options_are_in_the_default_name_and_an_old_explanation_is_deleted(trained_copy, without_plots, run_cli):
    run_cli("infer.py", "anna", "--tta", "flips", "--no-temperature")
    assert read_manifest("anna+flips+no-temperature").blend.parts[0].temperature == 1
    run_cli("infer.py", "anna", "bert", "--name", "x")
    assert Path("runs/blends/x/members.csv").is_file()
    run_cli("infer.py", "anna", "--name", "x")
    assert {path.name for path in Path("runs/blends/x").iterdir()} == {"blend.json", "oof.npz", "oof.csv", "pairs.csv"}


def test_infer_zero_weight_member_predicts_no_test_image(trained_copy, without_plots, run_cli, monkeypatch):
    monkeypatch.setattr("comp.ensemble.blend.fit_simplex_weights", lambda objective, members: np.eye(members)[-1])
    assert run_cli("infer.py", "anna", "bert", "--blend", "weights", "--tta", "flips", "--name", "single")[0] == 0
    assert [member.run for member in read_manifest("single").members] == ["bert"]
    predicted = {name: bool(list(Path(f"runs/{name}/predictions").glob("*/test*.npz"))) for name in ("anna", "bert")}
    assert predicted == {"anna": False, "bert": True}


def test_infer_members_csv_has_latency_of_all_folds_and_views_and_gain(trained_copy, without_plots, run_cli):
    for file in Path("runs").glob("*/run.json"):  # accuracy is chance here, and always the same
        change_json(file, metric="log_loss", higher_is_better=False)
    for name, runs in (("both", ("anna", "bert")), ("anna", ("anna",)), ("bert", ("bert",))):
        run_cli("infer.py", *runs, "--tta", "flips", "--name", name)
    table = pd.read_csv("runs/blends/both/members.csv").set_index("name")
    scores = {name: read_manifest(name).oof.score for name in ("both", "anna", "bert")}
    assert len(set(scores.values())) == 3
    for name, other in (("anna", "bert"), ("bert", "anna")):
        (latency,) = read_json(Path(f"runs/{name}/predictions/cost.json")).values()
        assert table.loc[name, "ms"] == pytest.approx(latency * 3 * 4)
        assert table.loc[name, "gain"] == pytest.approx(scores[other] - scores["both"])


def test_infer_copy_of_a_run_is_used_once(trained_copy, without_plots, run_cli):
    shutil.copytree("runs/anna", "runs/copy")
    config = Path("runs/copy/config.yaml")
    config.write_text(config.read_text().replace("name: anna", "name: copy"))
    run_cli("infer.py", "anna", "bert", "--name", "two")
    status, _, err = run_cli("infer.py", "anna", "bert", "copy", "--name", "three")
    assert status == 0 and err == "warning: copy has the same predictions as anna; it is used once\n"
    assert Path("submissions/two.csv").read_bytes() == Path("submissions/three.csv").read_bytes()


def test_infer_auto_views_predict_only_the_chosen_views_of_test_images(trained_copy, without_plots, run_cli):
    for name in ("anna", "bert"):
        shutil.rmtree(f"runs/{name}/predictions", ignore_errors=True)
    assert run_cli("infer.py", "anna", "bert", "--tta", "auto", "--name", "chosen")[0] == 0
    for part in read_manifest("chosen").blend.parts:
        assert "identity" in part.views and set(part.views) <= set(TTA["d4"])
        predicted = {path.parent.name for path in Path(f"runs/{part.name}/predictions").glob("*/test_fold0.npz")}
        assert predicted == set(part.views)


def test_infer_budget_limits_the_views_or_is_too_short(trained_copy, without_plots, run_cli):
    assert run_cli("infer.py", "anna", "bert", "--tta", "auto", "--name", "chosen")[0] == 0
    # 8 test images, 3 folds, 2 members at 2 ms: one view is 0.096 s, two views are more than 0.15
    for name in ("anna", "bert"):
        file = Path(f"runs/{name}/predictions/cost.json")
        write_json(file, dict.fromkeys(read_json(file), 2.0))
    assert run_cli("infer.py", "anna", "bert", "--tta", "auto", "--budget", "0.15s", "--name", "short")[0] == 0
    assert [part.views for part in read_manifest("short").blend.parts] == [("identity",)] * 2
    status, _, err = run_cli("infer.py", "anna", "bert", "--tta", "auto", "--budget", "0.05s", "--name", "none")
    assert status == 2 and err.startswith("error: --budget 0.05s: one view of the test images by every fold")


def test_infer_single_fold_is_scored_cross_fitted_too(trained_copy, without_plots, run_cli):
    for fold in (1, 2):
        shutil.rmtree(f"runs/anna/fold{fold}")
    status, out, err = run_cli("infer.py", "anna", "--tta", "auto")
    assert status == 0 and "on 16 images, cross-fitted" in out
    assert err == "warning: anna lacks fold 1, 2; blended without it\n"
    assert not read_blend("anna+auto").complete


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("anna", "--budget", "60s"), "--budget limits the views that are chosen; pass --tta auto too"),
        (("anna", "--tta", "auto", "--budget", "soon"), "'soon' is not a duration; use for example 60s, 5m or 1h"),
        (("anna", "--tta", "auto", "--budget=-3s"), "'-3s' is not a duration"),
        (("anna", "--blend", "greedy", "--fold", "full"), "--blend greedy is fitted out of fold"),
        (("anna", "--tta", "auto", "--fold", "full"), "--tta auto is fitted out of fold"),
        (("anna", "--blend", "best"), "invalid choice: 'best'"),
        (("anna", "carl"), "there is no run carl"),
    ],
)
def test_infer_wrong_arguments_are_one_line_and_nothing_is_written(arguments, message, trained_copy, run_cli):
    status, _, err = run_cli("infer.py", *arguments)
    assert status == 2 and err.startswith("error: ") and message in err and err.count("\n") == 1
    assert not Path("submissions").exists() and not Path("runs/blends").exists()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("folds_sha256", "bert was trained on another split than anna"),
        ("image_list_sha256", "bert was trained on other images than anna"),
        ("classes", "bert was trained on other classes than anna"),
        ("metric", "bert was scored by another metric than anna"),
    ],
)
def test_infer_runs_that_do_not_fit_are_refused(key, message, trained_copy, run_cli):
    file = Path("runs/bert/run.json")
    other = {"classes": read_json(file)["classes"][::-1], "metric": "log_loss"}.get(key, "0" * 64)
    change_json(file, **{key: other})
    status, _, err = run_cli("infer.py", "anna", "bert")
    assert status == 2 and message in err and not Path("submissions").exists()


def test_infer_without_test_images_fails_before_predicting(trained_copy, run_cli):
    shutil.rmtree("input/tiny/test")
    Path("input/tiny/sample_submission.csv").unlink()
    status, _, err = run_cli("infer.py", "anna", "--tta", "auto", "--budget", "60s")
    assert (status, err) == (2, "error: input/tiny/test has no images to predict; add them\n")


def test_infer_two_runs_of_one_name_are_refused(trained_copy, run_cli):
    shutil.copytree("runs/anna", "runs/copy")
    status, _, err = run_cli("infer.py", "anna", "copy")
    assert status == 2 and "runs/anna and runs/copy have the same name anna" in err
    assert not Path("submissions").exists()


def test_infer_members_of_other_folds_are_refused(trained_copy, run_cli):
    shutil.rmtree("runs/bert/fold2")
    status, _, err = run_cli("infer.py", "anna", "bert")
    assert status == 2 and "members predict different images" in err and "train the same folds of each" in err
    assert not Path("submissions").exists()


def test_infer_imports_no_training():
    code = "import sys, infer, comp.blending.infer; print([m for m in sys.modules if m.startswith('comp.training')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture
def offline(trained_copy, monkeypatch) -> Path:
    """The finished runs `anna` and `bert`; anna's config leaves W&B on where the environment says so."""
    config = trained_copy / "runs/anna/config.yaml"
    config.write_text(config.read_text().replace("wandb: off", "wandb: auto").replace('wandb: "off"', "wandb: auto"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    return trained_copy


def test_infer_and_submit_log_write_what_sync_would(offline, run_cli):
    status, _, err = run_cli("infer.py", "anna", "--name", "mine")
    assert (status, err) == (0, "")
    assert run_cli("comp", "submit", "log", "mine", "--public", "0.5")[0] == 0
    written = read_offline_runs(offline / "runs")
    assert {name: run.run.job_type for name, run in written.items()} == {"mine-infer": "infer", "mine-submit": "submit"}
    infer, submit = written["mine-infer"], written["mine-submit"]
    weights = [("model", f"weights-anna-fold{fold}") for fold in range(3)]
    assert infer.artifacts(used=True) == [("predictions", "oof-anna"), *weights]
    logged = [("submission", "submission-mine"), ("predictions", "oof-blend-mine")]
    assert infer.artifacts(used=False) == logged and submit.artifacts(used=True) == logged[:1]
    assert infer.summary["oof_low"] <= infer.summary["oof"] <= infer.summary["oof_high"]
    assert infer.config["members"] == [{"run": "anna", "runtime": "torch"}] and infer.run.project == "tiny"
    assert submit.summary["public"] == 0.5 and submit.summary["cv"] == pytest.approx(infer.summary["oof"])

    run_cli("comp", "submit", "log", "mine", "--private", "0.25")
    again = read_offline_runs(offline / "runs")["mine-submit"]
    assert again.run.run_id == submit.run.run_id and again.summary["private"] == 0.25

    status, out, _ = run_cli("comp", "track", "sync", "anna")
    assert status == 0 and out.endswith("W&B (offline): 4 runs written, 2 were there already\n")


def test_infer_writes_nothing_where_wandb_is_off_and_warns_where_it_fails(offline, run_cli, monkeypatch):
    import wandb

    assert run_cli("infer.py", "bert")[0] == 0  # its config has wandb: off
    assert run_cli("comp", "submit", "log", "bert", "--public", "0.5")[0] == 0
    assert not list((offline / "runs").rglob("*.wandb"))

    def fail(**_):
        raise RuntimeError("the service is down")

    monkeypatch.setattr(wandb, "init", fail)
    status, _, err = run_cli("infer.py", "anna")
    assert status == 0 and err == (
        "warning: W&B failed and has no record of this submission: RuntimeError: the service is down\n"
    )
