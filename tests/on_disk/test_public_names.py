"""Names that users and other programs rely on: config values, options, models, W&B keys, Kaggle messages."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.on_disk.state_dicts import describe_models
from tests.on_disk.workspace import HERE, MADE, lay_out, read_json, run

CONFIG_VALUES = {
    "augment.policy": "none flips rotation paper heavy karakus gupta",
    "augment.oversample": "none smote flips rotation paper heavy karakus gupta",
    "augment.device": "auto cpu gpu",
    "data.fit": "squash crop pad",
    "model.init": "own he glorot",
    "loss.name": "cross_entropy focal",
    "loss.class_weights": "none balanced",
    "optim.name": "adamw adam sgd rmsprop nadam",
    "optim.clip_mode": "norm value agc",
    "schedule.name": "cosine constant step exponential plateau",
    "train.metric": "accuracy balanced_accuracy macro_precision macro_recall macro_f1 macro_specificity "
    "weighted_precision weighted_recall weighted_f1 log_loss",
    "train.keep": "last best",
    "train.monitor": "score loss",
    "train.precision": "auto fp32 bf16 fp16",
    "infer.tta": "none flips d4",
    "log.wandb": "off offline online auto",
}
SECTIONS = ["name", "data", "folds", "augment", "model", "loss", "optim", "schedule", "train", "infer", "submit", "log"]
HISTORY_COLUMNS = "epoch step lr train_loss val_loss val_score seconds images_per_second peak_memory_gb val_seconds"


@pytest.mark.parametrize("key", CONFIG_VALUES)
def test_config_values_are_accepted(key, tmp_path, monkeypatch, capsys):
    lay_out(tmp_path, "input", "folds")
    monkeypatch.chdir(tmp_path)
    arguments = ["train.py", "data.root=input/tiny", "folds.k=2", "model.name=no_such_model"]
    for value in CONFIG_VALUES[key].split():  # the model is built after all other names are checked
        run(*arguments, f"{key}={value}", status=2)
        error = capsys.readouterr().err
        assert "no_such_model" in error and key not in error, value
    run(*arguments, f"{key}=no_such_value", status=2)
    assert key in capsys.readouterr().err


def test_infer_help_lists_the_choices():
    text = " ".join(run("infer.py", "--help").split())
    for option in (
        "--blend {mean,geometric,vote,greedy,weights,stack}",
        "--tta {none,flips,d4,auto}",
        "--fold {full}",
        "--runtime {torch,onnx,openvino,openvino-bf16}",
    ):
        assert option in text


def test_models_have_the_same_state_dict_keys():
    run("comp", "zoo")  # registers the models
    assert list(describe_models()) == (HERE / "state_dicts.txt").read_text().splitlines()


def test_wandb_receives_the_same_keys(tmp_path, monkeypatch):
    lay_out(tmp_path, "input", "folds")
    monkeypatch.chdir(tmp_path)
    inits, logged, summaries = [], [], []
    wandb_run = SimpleNamespace(
        id="0",
        step=0,
        log=lambda values, **_: logged.append(list(values)),
        define_metric=lambda *arguments, **options: None,
        summary=SimpleNamespace(update=lambda values: summaries.append(list(values))),
        finish=lambda exit_code=0: None,
    )
    wandb = SimpleNamespace(
        init=lambda **arguments: inits.append(arguments) or wandb_run, Settings=lambda **arguments: None
    )
    wandb_run.config = SimpleNamespace(update=lambda values, **_: None)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for name in ("log_artifact", "log_table"):
        monkeypatch.setattr(f"comp.observers.wandb.{name}", lambda *_, **__: None)
    monkeypatch.setattr("comp.observers.wandb.log_confusion", lambda *_: logged.append(["confusion"]))
    run("train.py", "-c", "configs/bert.yaml", "--name", "mirrored", "train.epochs=1", "log.wandb=offline")
    assert [(init["project"], init["group"], init["job_type"], init["name"]) for init in inits] == [
        ("tiny", "mirrored", "train", "mirrored-fold0"),
        ("tiny", "mirrored", "train", "mirrored-fold1"),
        ("tiny", "mirrored", "summary", "mirrored-summary"),
    ]
    assert [key for key in inits[0]["config"] if key in (*SECTIONS, "label")] == [*SECTIONS, "label"]  # some are new
    assert logged == [*2 * [HISTORY_COLUMNS.split(), ["confusion"]], ["confusion"]]
    assert {"mean", "sd", "oof", "best_minus_last"} <= set(summaries[2])


def test_push_message_ends_with_the_hash_and_a_scoring_error_is_logged_once(tmp_path, monkeypatch, kaggle_server):
    lay_out(tmp_path, "input", "folds", "runs", "submissions")
    monkeypatch.chdir(tmp_path)
    kaggle_server.polls, kaggle_server.scoring_error = 0, "no such column"
    push = [
        "comp",
        "submit",
        "push",
        "shipped",
        "-m",
        "mine",
        "-c",
        "configs/anna.yaml",
        "submit.kaggle=blood-cells-2026",
    ]
    run(*push, status=1)
    manifest = read_json("submissions/shipped.json")
    score, (low, high), sha256 = manifest["oof"]["score"], manifest["oof"]["interval"], manifest["sha256"]
    message = f"mine | accuracy {score:.4f} [{low:.3f}, {high:.3f}] | {sha256[:12]}"
    assert [submission["description"] for submission in kaggle_server.submissions] == [message]
    ledger = Path("submissions/ledger.csv").read_text()
    events = [(event["event"], event["message"]) for event in csv.DictReader(ledger.splitlines())]
    assert events[-2:] == [("sent", message), ("scored", "Kaggle could not score it: no such column")]
    run(*push, status=1)
    assert Path("submissions/ledger.csv").read_text() == ledger and len(kaggle_server.submissions) == 1


@pytest.mark.slow
def test_bench_json_has_all_keys(tmp_path, monkeypatch):
    lay_out(tmp_path, "input", "folds")
    monkeypatch.chdir(tmp_path)
    result = json.loads(run("comp", "bench", "-c", "configs/bert.yaml", "--json"))
    assert list(result) == list(read_json(MADE / "stdout/bench.json")) and None not in result.values()
    assert set(result["runtimes"]) == {"eager", "torch", "onnx", "openvino"}
    for runtime in result["runtimes"].values():
        assert list(runtime) == ["infer_ips", "infer_views_ips", "latency_ms"]
