"""Studies whose trials are trained on two nodes of Ray that share no disk."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from comp.files import read_json
from comp.runs import FoldDir
from tests.launch.test_ray import machines  # noqa: F401  a fixture
from tests.study.test_tune import tune  # noqa: F401  a fixture

pytestmark = pytest.mark.slow
STUDY = """
base: ../small.yaml
fixed: {train.epochs: EPOCHS, train.save_every: 0.2}
folds: 0..1
confirm: 2
sampler: random
pruner: PRUNER
space:
  optim.lr: {low: 1e-6, high: 1e-2, log: true}
  model.dropout: {low: 0.0, high: 0.5}
"""


def write_study(name: str, epochs: int, pruner: str = "none") -> None:
    text = STUDY.replace("EPOCHS", str(epochs)).replace("PRUNER", pruner)
    Path(f"configs/studies/{name}.yaml").write_text(text)


def command(name: str, trials: int, *arguments: str) -> list[str]:
    study = ["-m", "comp", "tune", f"configs/studies/{name}.yaml", "--trials", str(trials)]
    return [sys.executable, *study, *arguments]


def read_trials(name: str) -> list[optuna.trial.FrozenTrial]:
    backend = optuna.storages.journal.JournalFileBackend(f"runs/{name}/journal.log")
    return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend)).get_trials()


def results(name: str) -> list[tuple]:
    return [(trial.state, trial.params, trial.values, trial.intermediate_values) for trial in read_trials(name)]


def confirmation(name: str) -> str:
    """The header's comparison of the winner with the base."""
    return Path(f"configs/studies/{name}.winner.yaml").read_text().splitlines()[1]


def test_study_of_12_trials_on_two_nodes_one_killed_equals_a_local_one(tune, machines, tmp_path):  # noqa: F811
    for name in ("far", "near"):
        write_study(name, epochs=8)
    process = subprocess.Popen(command("far", 12, "--launcher", "ray", "--address", machines.address, "--workers", "2"))
    killed = []
    while process.poll() is None and not killed:
        # a fold of a later trial whose checkpoint is at home, while the first node trains it
        for copy in (tmp_path / "one").rglob("runs/far/trial_000[2-9]/fold*/resume.pt"):
            at_home = Path("runs/far", copy.parent.parent.name, copy.parent.name, "resume.pt")
            if at_home.is_file() and not FoldDir(at_home.parent).is_done:
                killed.append(at_home.parent)
                machines.remove_node(machines.machines[0], allow_graceful=False)
                break
        time.sleep(0.05)
    assert process.wait(900) == 0 and killed
    assert "resumes at step" in (killed[0] / "train.log").read_text()
    subprocess.run(command("near", 12), check=True)
    assert [trial.number for trial in read_trials("far")] == list(range(12))
    assert results("far") == results("near") and confirmation("far") == confirmation("near")
    for trial in read_trials("far"):
        assert trial.state == TrialState.COMPLETE
        scores = [read_json(Path(f"runs/{name}/trial_{trial.number:04d}/metrics.json")) for name in ("far", "near")]
        assert scores[0]["oof"] == scores[1]["oof"]


def test_pruned_trials_stop_on_the_node_and_an_interrupted_study_continues(tune, machines):  # noqa: F811
    for name in ("far", "near"):
        write_study(name, epochs=5, pruner="fold_median")
    subprocess.run(command("near", 9), check=True)
    far = command("far", 9, "--launcher", "ray", "--address", machines.address)
    process = subprocess.Popen([*far, "--workers", "1"])
    while not Path("runs/far/trial_0002/fold0/history.csv").is_file():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    subprocess.run(far, check=True)
    assert results("far") == results("near")
    pruned = [trial.number for trial in read_trials("far") if trial.state == TrialState.PRUNED]
    assert pruned
    for number in pruned:
        records = [path for path in Path(f"runs/far/trial_{number:04d}").glob("fold*/fold.json")]
        assert read_json(max(records))["status"] == "pruned"
