"""A run directory is made once, resumed as it was, never mixed with another, and a broken file in it is named."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from comp.checkpoints import load_checkpoint, save_checkpoint
from comp.config import load
from comp.errors import UserError
from comp.files import read_json
from comp.records.run import ProcessInfo, RunRecord
from comp.runs import FoldDir, Run, find_runs, open_run, read_run
from comp.schema import Config

DRAFT = RunRecord(
    seed=42,
    metric="accuracy",
    higher_is_better=True,
    classes=("a", "b"),
    folds=(0, 1, 2),
    folds_file="folds/cells.csv",
    folds_sha256="f" * 64,
    image_list_sha256="e" * 64,
    parameters=10,
)
PROCESS = ProcessInfo("train.py", "cpu", "a processor", 1, "here", 1, {"python": "3.11"})


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/base.yaml").write_text("train: {epochs: 3}\n")


def config(*overrides: str, name: str | None = None) -> Config:
    return load("configs/base.yaml", overrides, name)[0]


def made(name: str = "base", *overrides: str, **changes) -> Run:
    return open_run(config(*overrides, name=name), replace(DRAFT, **changes), lambda: "fp32")


# ---- checkpoints ----

CONTENT = {"epoch": 3, "model": {"weight": torch.arange(6.0)}, "history": [{"lr": 0.1, "note": None}]}


def test_a_checkpoint_comes_back_as_it_was():
    save_checkpoint(Path("new/resume.pt"), CONTENT)
    read = load_checkpoint(Path("new/resume.pt"))
    assert torch.equal(read["model"]["weight"], CONTENT["model"]["weight"])
    assert (read["epoch"], read["history"]) == (3, CONTENT["history"])
    assert os.listdir("new") == ["resume.pt"]


@pytest.mark.parametrize("part", [0, 1, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused_by_name(part):
    path = Path("resume.pt")
    save_checkpoint(path, CONTENT)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size) if part < 1 else 1])
    with pytest.raises(UserError, match=r"resume\.pt is truncated or not a checkpoint of this kit"):
        load_checkpoint(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


FOREIGN = {
    "text": lambda path: path.write_text("weights"),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(CONTENT["history"], protocol=2)),
    "a pickle that runs code": lambda path: path.write_bytes(pickle.dumps(Bomb(), protocol=2)),
    "a torch file that runs code": lambda path: torch.save({"kit": "comp", "schema": 1, "model": Bomb()}, path),
    "weights of somebody else": lambda path: torch.save(CONTENT["model"], path),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "another kit": lambda path: torch.save({**CONTENT, "schema": 1}, path),
    "another schema": lambda path: torch.save({**CONTENT, "kit": "comp", "schema": 0}, path),
    "a zip": lambda path: Path(shutil.make_archive("some", "zip", "configs")).rename(path),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_is_refused_by_name_and_never_run(what):
    FOREIGN[what](Path("weights.pt"))
    with pytest.raises(UserError, match=r"weights\.pt is truncated or not a checkpoint of this kit"):
        load_checkpoint(Path("weights.pt"))
    assert not Path("exploded").exists()


def test_a_missing_checkpoint_is_called_missing():
    with pytest.raises(UserError, match=r"fold0/weights\.pt is missing"):
        load_checkpoint(Path("fold0/weights.pt"))


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint_readable(monkeypatch, step):
    path = Path("fold0/resume.pt")
    save_checkpoint(path, {"epoch": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"epoch": 2})
    assert load_checkpoint(path)["epoch"] == 1 and os.listdir("fold0") == ["resume.pt"]


# ---- one directory, one run ----


def test_a_new_run_holds_its_config_and_its_facts():
    run = made("mine", "optim.lr=0.5")
    assert run.path == Path("runs/mine") and run.classes == ("a", "b") and run.record.precision == "fp32"
    assert load(run.path / "config.yaml") == [run.config]
    assert read_run(run.path).record == run.record
    assert run.record.to_dict() == json.loads((run.path / "run.json").read_text())


def test_opening_it_again_changes_nothing_on_disk():
    files = {file: file.read_bytes() for file in made().path.iterdir()}
    made()
    assert {file: file.read_bytes() for file in Path("runs/base").iterdir()} == files


def test_precision_is_asked_once_in_a_runs_life():
    answers = iter(["bf16"])
    runs = [open_run(config(), DRAFT, lambda: next(answers)) for _ in range(3)]
    assert {run.record.precision for run in runs} == {"bf16"}


def test_a_creation_that_was_cut_short_is_made_anew():
    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_run(config("optim.lr=0.5", name="base"), DRAFT, killed)
    assert made("base").config.optim.lr == load("runs/base/config.yaml")[0].optim.lr == 0.001


@pytest.mark.parametrize(
    ("override", "key", "old", "new"),
    [
        ("optim.lr=0.5", "optim.lr", "0.001", "0.5"),
        ("train.seed=7", "train.seed", "42", "7"),
        ("model.kwargs.se=false", "model.kwargs.se", "None", "False"),
        ("data.crop=60", "data.crop", "None", "60"),
    ],
)
def test_a_changed_config_is_refused_naming_the_key_and_both_ways_out(override, key, old, new):
    made()
    with pytest.raises(
        UserError,
        match=f"runs/base was made with {key}={old}, and this config has {new}; "
        r".*--name NEW.*--restart",
    ):
        made("base", override)


def test_a_changed_split_is_refused_naming_the_file_and_both_ways_out():
    made()
    with pytest.raises(UserError, match=r"another split than folds/cells\.csv holds now; .*--name NEW.*--restart"):
        made(folds_sha256="0" * 64)


def test_restart_keeps_every_old_run(capsys):
    for times in range(3):
        run = open_run(config(f"train.epochs={times + 1}", name="a/b"), DRAFT, lambda: "fp32", restart=True)
        run.fold_dir(0).path.mkdir()
        run.fold_dir(0).resume_path.write_text(str(times))
    assert run.config.train.epochs == 3
    kept = sorted(Path("runs/.replaced/a").iterdir())
    assert [load(path / "config.yaml")[0].train.epochs for path in kept] == [1, 2]
    assert [(path / "fold0/resume.pt").read_text() for path in kept] == ["0", "1"]
    assert capsys.readouterr().out.splitlines() == [f"the old run is kept as {path}" for path in kept]


@pytest.mark.parametrize(
    ("about", "complaint"),
    [
        (None, "run.json is missing"),
        ("{", "not readable JSON"),
        ('{"schema": 0}', "has schema 0, and this version reads 1"),
    ],
)
def test_a_directory_that_is_no_run_is_refused(about, complaint):
    path = made().path / "run.json"
    path.unlink() if about is None else path.write_text(about)
    with pytest.raises(UserError, match=f"runs/base.*{complaint}"):
        read_run(path.parent)


# ---- finding runs ----

NAMES = ["deep", "deep+train.seed=1", "deep+train.seed=2", "papers/a/b", "study/trial_0001", "study/trial_0002"]


@pytest.fixture(scope="module")
def many_runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("configs").mkdir()
        Path("configs/base.yaml").write_text("train: {epochs: 3}\n")
        for name in [*NAMES, "debug/deep", ".replaced/deep-1", "checks/x", "papers/deep"]:
            made(name)
        Path("runs/papers/empty").mkdir()
    return folder / "runs"


@pytest.fixture
def several(many_runs) -> None:
    shutil.copytree(many_runs, "runs")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["deep"], ["deep"]),
        (["papers/a/b"], ["papers/a/b"]),
        (["runs/papers/a/b"], ["papers/a/b"]),
        (["runs/papers/a/b/"], ["papers/a/b"]),
        (["./runs/papers/a/b"], ["papers/a/b"]),
        (["deep*"], NAMES[:3]),
        (["runs/deep+*"], NAMES[1:3]),
        (["study/*"], NAMES[4:]),
        (["*trial_000[2-9]"], NAMES[5:]),
        (["study/trial_0002", "deep", "study/*"], ["study/trial_0002", "deep", "study/trial_0001"]),
        (["deep", "deep", "runs/deep", "./runs/deep", "{here}/runs/deep"], ["deep"]),
        (["*"], [*NAMES[:4], "papers/deep", *NAMES[4:]]),
        ([], []),
    ],
)
def test_runs_are_found_by_name_path_or_pattern_each_once(several, wanted, found):
    assert [run.name for run in find_runs(text.format(here=Path.cwd()) for text in wanted)] == found


def test_a_run_outside_the_house_is_found_by_its_path(several, tmp_path):
    shutil.copytree("runs/deep", "elsewhere/mine")
    (run,) = find_runs(["elsewhere/mine"])
    assert run.path == Path("elsewhere/mine") and run.config == config(name="deep")


@pytest.mark.parametrize(
    "text",
    [
        "debug/deep",
        "runs/debug/deep",
        "debug/*",
        ".replaced/*",
        "checks/x",
        "papers",
        "papers/empty",
        "papers/*/nothing",
        "trial_0001",
    ],
)
def test_trials_of_the_kit_itself_and_folders_are_no_runs(several, text):
    with pytest.raises(UserError, match="there is no run"):
        find_runs(["deep", text])


def test_an_unknown_run_lists_what_there_is_or_says_how_to_make_one():
    with pytest.raises(UserError, match=r"no run deep; none is trained yet: python train\.py"):
        find_runs(["deep"])
    made("deep_efficientnet")
    made("pinto")
    with pytest.raises(UserError, match=r"no run deep_eficientnet; did you mean deep_efficientnet\?"):
        find_runs(["deep_eficientnet"])
    with pytest.raises(UserError, match=r"no run zzz; available: deep_efficientnet, pinto"):
        find_runs(["zzz"])


# ---- folds ----


def test_a_fold_is_done_when_it_says_so_and_its_weights_are_there():
    run = made()
    assert run.folds_done() == [] and run.fold_dir(1).read_record() is None
    run.fold_dir(1).mark_running(PROCESS)
    assert not run.fold_dir(1).is_done
    run.fold_dir(1).mark_ended("done", epochs=3)
    run.fold_dir("full").mark_running(PROCESS)
    run.fold_dir("full").mark_ended("done")
    assert run.folds_done() == []
    run.fold_dir(1).weights_path.write_bytes(b"weights")
    assert run.folds_done() == [1]
    record = run.fold_dir(1).read_record()
    assert (record.status, record.device, record.epochs) == ("done", "cpu", 3)
    assert record.started <= record.finished
    run.fold_dir(1).mark_running(PROCESS)
    written = read_json(run.fold_dir(1).path / "fold.json")
    assert "finished" not in written and "epochs" not in written
    assert run.folds_done() == []


def test_only_one_process_trains_a_fold():
    first = FoldDir(Path("runs/x/fold0")).lock()
    with pytest.raises(UserError, match="runs/x/fold0 is being trained by another process"):
        FoldDir(Path("runs/x/fold0")).lock()
    with FoldDir(Path("runs/x/fold1")).lock():
        pass
    with first:
        pass
    with FoldDir(Path("runs/x/fold0")).lock():
        pass


@pytest.mark.parametrize(
    ("fact", "value", "word"), [("classes", ["b", "a"], "order"), ("image_list_sha256", "0" * 64, "training images")]
)
def test_a_dataset_that_changed_under_a_run_is_refused(fact, value, word):
    made("base")
    with pytest.raises(UserError, match=word):
        made("base", **{fact: value})


def test_restart_is_refused_while_another_process_trains_there():
    run = made("base")
    with run.fold_dir(1).lock(), pytest.raises(UserError, match="being trained by another process"):
        open_run(config(name="base"), DRAFT, lambda: "fp32", restart=True)
    assert (run.path / "run.json").is_file()


def test_how_a_run_is_read_out_may_change_at_any_time():
    made("base")
    made("base", "infer.tta=d4", "log.wandb=off")
    assert read_run(Path("runs/base")).config.infer.tta == "d4"
