"""Run directories: created once, resumed unchanged, refused for another config, and broken files are named."""

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


def make_run(name: str = "base", *overrides: str, **changes) -> Run:
    return open_run(
        config(*overrides, name=name), replace(DRAFT, **changes), lambda record: replace(record, precision="fp32")
    )


# ---- checkpoints ----

CONTENT = {"epoch": 3, "model": {"weight": torch.arange(6.0)}, "history": [{"lr": 0.1, "note": None}]}


def test_checkpoint_round_trip_is_equal():
    save_checkpoint(Path("new/resume.pt"), CONTENT)
    read = load_checkpoint(Path("new/resume.pt"))
    assert torch.equal(read["model"]["weight"], CONTENT["model"]["weight"])
    assert (read["epoch"], read["history"]) == (3, CONTENT["history"])
    assert os.listdir("new") == ["resume.pt"]


@pytest.mark.parametrize("part", [0, 1, 0.3, 0.9, 0.999])
def test_load_checkpoint_truncated_file_error_names_it(part):
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


@pytest.mark.parametrize("kind", FOREIGN)
def test_load_checkpoint_foreign_file_is_refused_and_never_executed(kind):
    FOREIGN[kind](Path("weights.pt"))
    with pytest.raises(UserError, match=r"weights\.pt is (truncated or not a checkpoint of this kit|a folder)"):
        load_checkpoint(Path("weights.pt"))
    assert not Path("exploded").exists()


def test_load_checkpoint_missing_file_is_reported_as_missing():
    with pytest.raises(UserError, match=r"fold0/weights\.pt is missing"):
        load_checkpoint(Path("fold0/weights.pt"))


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_save_checkpoint_full_disk_keeps_the_old_file(monkeypatch, step):
    path = Path("fold0/resume.pt")
    save_checkpoint(path, {"epoch": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"epoch": 2})
    assert load_checkpoint(path)["epoch"] == 1 and os.listdir("fold0") == ["resume.pt"]


# ---- one directory, one run ----


def test_open_run_writes_config_and_record():
    run = make_run("mine", "optim.lr=0.5")
    assert run.path == Path("runs/mine") and run.classes == ("a", "b") and run.record.precision == "fp32"
    assert load(run.path / "config.yaml") == [run.config]
    assert read_run(run.path).record == run.record
    assert run.record.to_dict() == json.loads((run.path / "run.json").read_text())


def test_open_run_twice_changes_nothing_on_disk():
    files = {file: file.read_bytes() for file in make_run().path.iterdir()}
    make_run()
    assert {file: file.read_bytes() for file in Path("runs/base").iterdir()} == files


def test_open_run_chooses_precision_once():
    answers = iter(["bf16"])
    runs = [open_run(config(), DRAFT, lambda record: replace(record, precision=next(answers))) for _ in range(3)]
    assert {run.record.precision for run in runs} == {"bf16"}


def test_open_run_after_interrupted_creation_starts_again():
    def killed(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_run(config("optim.lr=0.5", name="base"), DRAFT, killed)
    assert make_run("base").config.optim.lr == load("runs/base/config.yaml")[0].optim.lr == 0.001


@pytest.mark.parametrize(
    ("override", "key", "old", "new"),
    [
        ("optim.lr=0.5", "optim.lr", "0.001", "0.5"),
        ("train.seed=7", "train.seed", "42", "7"),
        ("model.kwargs.se=false", "model.kwargs.se", "None", "False"),
        ("data.crop=60", "data.crop", "None", "60"),
    ],
)
def test_open_run_changed_config_error_names_key_and_ways_out(override, key, old, new):
    make_run()
    with pytest.raises(
        UserError,
        match=f"runs/base was made with {key}={old}, and this config has {new}; "
        r".*--name NEW.*--restart",
    ):
        make_run("base", override)


def test_open_run_changed_split_error_names_file_and_ways_out():
    make_run()
    with pytest.raises(UserError, match=r"another split than folds/cells\.csv holds now; .*--name NEW.*--restart"):
        make_run(folds_sha256="0" * 64)


def test_open_run_restart_archives_the_old_run(capsys):
    for times in range(3):
        run = open_run(
            config(f"train.epochs={times + 1}", name="a/b"),
            DRAFT,
            lambda record: replace(record, precision="fp32"),
            restart=True,
        )
        run.fold_dir(0).path.mkdir()
        run.fold_dir(0).resume_path.write_text(str(times))
    assert run.config.train.epochs == 3
    kept = sorted(Path("runs/.replaced/a").iterdir())
    assert [load(path / "config.yaml")[0].train.epochs for path in kept] == [1, 2]
    assert [(path / "fold0/resume.pt").read_text() for path in kept] == ["0", "1"]
    assert capsys.readouterr().out.splitlines() == [f"the old run is kept as {path}" for path in kept]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "run.json is missing"),
        ("{", "not readable JSON"),
        ('{"schema": 0}', "has schema 0, and this version reads 1"),
    ],
)
def test_read_run_invalid_record_error_names_it(content, complaint):
    path = make_run().path / "run.json"
    path.unlink() if content is None else path.write_text(content)
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
            make_run(name)
        Path("runs/papers/empty").mkdir()
    return folder / "runs"


@pytest.fixture
def several(many_runs) -> None:
    shutil.copytree(many_runs, "runs")


@pytest.mark.parametrize(
    ("names", "expected"),
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
def test_find_runs_by_name_path_or_pattern_lists_each_once(several, names, expected):
    assert [run.name for run in find_runs(text.format(here=Path.cwd()) for text in names)] == expected


def test_find_runs_outside_the_repository_by_path(several, tmp_path):
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
def test_find_runs_reserved_directories_are_not_runs(several, text):
    with pytest.raises(UserError, match="there is no run"):
        find_runs(["deep", text])


def test_find_runs_unknown_name_lists_available_runs():
    with pytest.raises(UserError, match=r"no run deep; none is trained yet: python train\.py"):
        find_runs(["deep"])
    make_run("deep_efficientnet")
    make_run("pinto")
    with pytest.raises(UserError, match=r"no run deep_eficientnet; did you mean deep_efficientnet\?"):
        find_runs(["deep_eficientnet"])
    with pytest.raises(UserError, match=r"no run zzz; available: deep_efficientnet, pinto"):
        find_runs(["zzz"])


# ---- folds ----


def test_fold_dir_is_done_needs_record_and_weights():
    run = make_run()
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


def test_fold_dir_lock_second_process_is_refused():
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
def test_check_unchanged_changed_dataset_is_an_error(fact, value, word):
    make_run("base")
    with pytest.raises(UserError, match=word):
        make_run("base", **{fact: value})


def test_open_run_restart_of_a_locked_fold_is_refused():
    run = make_run("base")
    with run.fold_dir(1).lock(), pytest.raises(UserError, match="being trained by another process"):
        open_run(config(name="base"), DRAFT, lambda record: replace(record, precision="fp32"), restart=True)
    assert (run.path / "run.json").is_file()


def test_open_run_keys_outside_identity_may_change():
    make_run("base")
    make_run("base", "infer.tta=d4", "log.wandb=off")
    assert read_run(Path("runs/base")).config.infer.tta == "d4"
