"""Names that people and other programs give or get: choices in a config, models, W&B's keys, Kaggle's messages."""

from __future__ import annotations

import csv
import json
import sys
import types
from pathlib import Path

import pytest

from tests.artefacts.state_dicts import lines as state_dict_lines
from tests.artefacts.workspace import ARTEFACTS, MADE, lay_out, read_json, run


@pytest.fixture
def old(tmp_path, monkeypatch) -> Path:
    """What bb2c827 left, as the current directory."""
    lay_out(tmp_path, "configs", "input", "folds", "runs", "submissions")
    monkeypatch.chdir(tmp_path)
    return tmp_path


CHOICES = {
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


@pytest.mark.parametrize("key", CHOICES)
def test_a_name_in_a_config_is_still_known(key, tmp_path, monkeypatch, capsys):
    lay_out(tmp_path, "input", "folds")
    monkeypatch.chdir(tmp_path)
    config = ["train.py", "data.root=input/tiny", "folds.k=2", "model.name=unheard_of"]
    for name in CHOICES[key].split():  # all other names are looked at before the model is built
        run(*config, f"{key}={name}", status=2)
        assert "unheard_of" in (said := capsys.readouterr().err) and key not in said, name
    run(*config, f"{key}=never_heard_of", status=2)
    assert key in capsys.readouterr().err


def test_the_words_of_infer_are_still_known(capsys):
    text = " ".join(run("infer.py", "--help").split())
    for words in (
        "--blend {mean,geometric,vote,greedy,weights,stack}",
        "--tta {none,flips,d4,auto}",
        "--fold {full}",
        "--runtime {torch,onnx,openvino}",
    ):
        assert words in text


def test_registered_models_keep_the_keys_of_their_weights():
    run("comp", "zoo")
    assert list(state_dict_lines()) == (ARTEFACTS / "state_dicts.txt").read_text().splitlines()


def test_wandb_gets_its_names(old, monkeypatch):
    started, logged, summaries = [], [], []
    mirror = types.SimpleNamespace(
        log=lambda values: logged.append(list(values)),
        define_metric=lambda *words, **named: None,
        summary=types.SimpleNamespace(update=lambda values: summaries.append(list(values))),
        finish=lambda exit_code=0: None,
    )
    monkeypatch.setitem(
        sys.modules,
        "wandb",
        types.SimpleNamespace(
            init=lambda **words: started.append(words) or mirror,
            Settings=lambda **words: None,
            plot=types.SimpleNamespace(confusion_matrix=lambda **words: None),
        ),
    )
    run("train.py", "-c", "configs/bert.yaml", "--name", "mirrored", "train.epochs=1", "log.wandb=offline")
    assert [(words["project"], words["group"], words["job_type"], words["name"]) for words in started] == [
        ("tiny", "mirrored", "train", "mirrored-fold0"),
        ("tiny", "mirrored", "train", "mirrored-fold1"),
        ("tiny", "mirrored", "summary", "mirrored-summary"),
    ]
    assert list(started[0]["config"]) == [
        "name",
        "data",
        "folds",
        "augment",
        "model",
        "loss",
        "optim",
        "schedule",
        "train",
        "infer",
        "submit",
        "log",
        "label",
    ]
    history = [
        "epoch",
        "step",
        "lr",
        "train_loss",
        "val_loss",
        "val_score",
        "seconds",
        "images_per_second",
        "peak_memory_gb",
        "val_seconds",
    ]
    assert logged == 2 * [history, ["confusion"]] and summaries == [["mean", "sd", "oof", "best_minus_last"]]


def test_kaggle_gets_the_hash_and_the_ledger_its_answer_once(old, kaggle_server):
    kaggle_server.polls = 0
    note, words = read_json("submissions/shipped.json"), ["-c", "configs/anna.yaml", "submit.kaggle=blood-cells-2026"]
    kaggle_server.scoring_error = "no such column"
    run("comp", "submit", "push", "shipped", "-m", "mine", *words, status=1)
    low, high = note["oof"]["interval"]
    assert (
        kaggle_server.submissions[0]["description"]
        == f"mine | accuracy {note['oof']['score']:.4f} [{low:.3f}, {high:.3f}] | {note['sha256'][:12]}"
    )
    ledger = Path("submissions/ledger.csv").read_text()
    *_, sent, scored = csv.DictReader(ledger.splitlines())
    assert (sent["event"], sent["message"]) == ("sent", kaggle_server.submissions[0]["description"])
    assert (scored["event"], scored["message"]) == ("scored", "Kaggle could not score it: no such column")
    run("comp", "submit", "push", "shipped", "-m", "mine", *words, status=1)
    assert Path("submissions/ledger.csv").read_text() == ledger and len(kaggle_server.submissions) == 1


@pytest.mark.slow
def test_bench_has_all_its_keys(old):
    found = json.loads(run("comp", "bench", "-c", "configs/bert.yaml", "--json"))
    assert list(found) == list(read_json(MADE / "stdout/bench.json")) and None not in found.values()
    assert {"eager", "torch", "onnx", "openvino"} == set(found["runtimes"])
    assert all(list(each) == ["infer_ips", "infer_views_ips", "latency_ms"] for each in found["runtimes"].values())
