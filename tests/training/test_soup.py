"""A soup is the mean of a fold's last epochs, also after a kill, and independent of the images it is scored on."""

from __future__ import annotations

import copy
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from comp.checkpoints import load_checkpoint
from comp.engine.kernels.fuse import fuse, kernels_available
from comp.engine.weight_averaging import average_weights, update_batchnorm_stats
from comp.files import file_sha256, read_json, write_json
from comp.prediction.load import load_model
from comp.records import checkpoint
from comp.records import weights as weights_record
from comp.records.weights import WeightsFile
from comp.runs import FoldDir, find_runs
from comp.study.leaderboard.entries import read_entries
from comp.training.components import build_components
from comp.training.setup import setup_from_run
from comp.training.snapshots import delete_snapshots
from tests.conftest import SMALL
from tests.predictions import read_table
from tests.training.test_reconstruction import interrupt_save

CPU = torch.device("cpu")
FIVE = [*SMALL, "train.epochs=5"]
WITHOUT_NORM = ["data.size=32", "model.name=test_vit", "model.dropout=null", "model.drop_path=null"]


def weights(path: str | Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def snapshots(name: str) -> dict[str, dict[str, torch.Tensor]]:
    return {file.stem: weights(file) for file in sorted(Path(f"runs/{name}/fold0/snapshots").iterdir())}


def copy_snapshot(source: int, target: int) -> None:
    """Give the snapshot of one epoch the weights of another, as if the training of fold 0 of `x` had written them."""
    fold_dir = FoldDir(Path("runs/x/fold0"))
    path = fold_dir.snapshot_path(target)
    old = WeightsFile.from_dict(load_checkpoint(path), path)
    replace(old, state_dict=weights(fold_dir.snapshot_path(source))).write(path)
    record = fold_dir.read_record()
    replace(record, snapshots={**record.snapshots, path.name: file_sha256(path)}).write(fold_dir.path / "fold.json")


@pytest.fixture
def train(workspace, run_cli):
    """Return `train(name, ...)`, which trains fold 0 under that name and returns its output, or its error."""
    assert run_cli("comp", "folds", *SMALL)[0] == 0

    def call(name: str, *more: str, fold: str = "0", fails: bool = False) -> str:
        status, out, err = run_cli("train.py", "--fold", fold, "--name", name, *FIVE, *more)
        assert status == (2 if fails else 0), err
        return err if fails else out

    return call


# ---- the mean ----


def small_model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    model(torch.randn(5, 3, 6, 6))
    return model


def test_average_weights_two_models_gives_their_mean_and_equal_models_themselves():
    one, other = (small_model(seed).state_dict() for seed in (0, 1))
    mean = average_weights(small_model(2), [one, other])
    for name, value in mean.named_parameters():
        assert torch.allclose(value, (one[name] + other[name]) / 2, atol=1e-7)
    other["1.num_batches_tracked"] += 6
    assert average_weights(small_model(2), [one, other]).state_dict()["1.num_batches_tracked"] == 7
    assert same(average_weights(small_model(2), [one] * 5).state_dict(), one)


@pytest.mark.parametrize(
    "fused", [False, pytest.param(True, marks=pytest.mark.skipif(not kernels_available(), reason="no g++"))]
)
def test_update_batchnorm_stats_uses_only_the_batches(fused):
    model = small_model(0)
    model[1].running_mean.fill_(9)
    batches = [torch.randn(count, 3, 6, 6) for count in (8, 8, 4)]
    maps = [model[0](batch).detach() for batch in batches]
    model = fuse(model) if fused else model
    update_batchnorm_stats(model.eval(), iter(batches), CPU, "fp32")
    norm = model[1]
    assert torch.allclose(norm.running_mean, torch.stack([x.mean((0, 2, 3)) for x in maps]).mean(0), atol=1e-6)
    assert torch.allclose(norm.running_var, torch.stack([x.var((0, 2, 3)) for x in maps]).mean(0), atol=1e-6)
    assert norm.num_batches_tracked == 3 and norm.momentum == 0.1 and not model.training


def test_update_batchnorm_stats_frozen_layer_keeps_its_statistics():
    model = small_model(0)
    model[1].train = lambda mode=True: nn.BatchNorm2d.train(model[1], False)
    before = copy.deepcopy(model.state_dict())
    update_batchnorm_stats(model.eval(), [torch.randn(8, 3, 6, 6)], CPU, "fp32")
    assert same(model.state_dict(), before)


# ---- snapshots ----


def test_snapshots_last_epochs_are_kept_and_the_last_equals_the_weights(train):
    train("x", "train.snapshots=3", "train.ema=0.9")
    kept, scored = snapshots("x"), weights("runs/x/fold0/weights.pt")
    assert list(kept) == ["epoch3", "epoch4", "epoch5"]
    assert same(kept["epoch5"], scored) and not same(kept["epoch4"], scored)
    assert load_checkpoint(Path("runs/x/fold0/snapshots/epoch4.pt"))["epoch"] == 4
    assert "snapshots=3, and this config has 4" in train("x", "train.snapshots=4", "train.ema=0.9", fails=True)
    train("y")
    assert not Path("runs/y/fold0/snapshots").exists()
    train("all", "train.snapshots=9")
    assert len(snapshots("all")) == 5


STOP = ["train.epochs=30", "train.patience=5", "train.monitor=loss", "optim.lr=0.02"]  # the first epoch is the best


@pytest.mark.parametrize(
    ("stop", "module", "after"), [([], weights_record, 1), (STOP, checkpoint, 4), (STOP, weights_record, 4)]
)
def test_snapshots_killed_training_leaves_the_same_files(train, run_cli, monkeypatch, stop, module, after):
    keep = ["train.snapshots=2", "train.save_every=0", *stop]
    train("whole", *keep)
    with monkeypatch.context() as patch:
        interrupt_save(patch, module, after)
        assert run_cli("train.py", "--fold", "0", "--name", "killed", *FIVE, *keep)[0] == 130
    train("killed", *keep)
    last = read_json(Path("runs/whole/fold0/fold.json"))["epochs"]
    assert 5 < last < 30 if stop else last == 5, last
    whole, killed = snapshots("whole"), snapshots("killed")
    assert set(whole) == set(killed) == {f"epoch{last - 1}", f"epoch{last}"}
    assert all(same(kept, killed[epoch]) for epoch, kept in whole.items())


# ---- the run ----


def soup(run_cli, *arguments: str) -> str:
    status, out, err = run_cli("comp", "soup", *arguments)
    assert (status, err) == (0, ""), err
    return out


def test_soup_equal_snapshots_without_batchnorm_equals_the_run(train, run_cli):
    train("x", "train.snapshots=3", *WITHOUT_NORM)
    for epoch in (3, 4):
        copy_snapshot(5, epoch)
    soup(run_cli, "x")
    assert same(weights("runs/x+soup/fold0/weights.pt"), weights("runs/x/fold0/weights.pt"))
    assert Path("runs/x+soup/fold0/last.npz").read_bytes() == Path("runs/x/fold0/last.npz").read_bytes()


def test_soup_is_the_mean_with_statistics_of_the_last_epochs_images(train, run_cli):
    train("x", "train.snapshots=2", "augment.mixup=0.3")
    soup(run_cli, "x")
    one, other = (weights(f"runs/x/fold0/snapshots/epoch{epoch}.pt") for epoch in (4, 5))
    averaged = weights("runs/x+soup/fold0/weights.pt")
    learnt = [key for key in averaged if "running" not in key and "tracked" not in key]
    assert learnt and all(torch.allclose(averaged[key], (one[key] + other[key]) / 2, atol=1e-6) for key in learnt)

    torch.manual_seed(0)
    setup = setup_from_run(*find_runs(["x"]), CPU)
    components = build_components(setup, 0, use_initial_weights=False)
    model = load_model(find_runs(["x+soup"])[0].read_weights(0), CPU).model
    means, steps_per_epoch = [], components.train_set.steps_per_epoch
    for images, _ in components.batches(range(4 * steps_per_epoch, 5 * steps_per_epoch)):
        means.append(model.conv_stem(components.prepare(images)).mean((0, 2, 3)))
    assert int(averaged["bn1.num_batches_tracked"]) == steps_per_epoch == 4
    # mixing an image with another of its batch moves no batch's mean, as the convolution is linear
    assert torch.allclose(averaged["bn1.running_mean"], torch.stack(means).mean(0), atol=1e-5)


def test_soup_validation_images_have_no_influence(train, run_cli):
    train("x", "train.snapshots=2", fold="0..2")
    soup(run_cli, "x")
    folds = pd.read_csv("folds/tiny.csv").set_index("image")["fold"]
    oof = read_table(Path("runs/x+soup/predictions/identity/oof.npz"), find_runs(["x"])[0].classes)
    assert (oof["fold"] == folds.loc[oof.index]).all() and set(oof.index) == set(folds.index)
    assert read_json(Path("runs/x+soup/metrics.json"))["complete"]
    before = {fold: weights(f"runs/x+soup/fold{fold}/weights.pt") for fold in (0, 1, 2)}
    image = next(iter(folds[folds == 0].index))
    (file,) = (
        Path("input/tiny").rglob(Path(image).name)
        if not Path("input/tiny/train", image).is_file()
        else [Path("input/tiny/train", image)]
    )
    file.write_bytes(Path("input/tiny/test/img_0.jpg").read_bytes())
    shutil.rmtree("runs/x+soup")
    soup(run_cli, "x")
    after = {fold: weights(f"runs/x+soup/fold{fold}/weights.pt") for fold in (0, 1, 2)}
    assert [same(before[fold], after[fold]) for fold in (0, 1, 2)] == [True, False, False]


def test_soup_is_a_run_for_every_other_command(train, run_cli):
    train("x", "train.snapshots=2", "train.keep=best", fold="0..2")
    assert "optimistic" not in soup(run_cli, "x")  # the epoch was chosen for the run, and not for its soup
    metrics = read_json(Path("runs/x+soup/metrics.json"))
    assert metrics["kept"] == "last" and metrics["best_minus_last"] == 0
    record = read_json(Path("runs/x+soup/run.json"))
    assert (record["soup_of"], record["snapshots"]) == ("x", 2)
    assert run_cli("infer.py", "x+soup")[0] == 0 and Path("submissions/x+soup.csv").is_file()
    train("y", "train.init=x+soup")
    entries = {entry.name: entry for entry in read_entries()[0]}
    assert {"x", "x+soup", "y"} <= set(entries) and all(entry.score is not None for entry in entries.values())
    assert entries["x"].optimistic and not entries["x+soup"].optimistic and not entries["y"].complete


def test_soup_run_again_makes_only_what_is_missing_or_changed(train, run_cli):
    train("x", "train.snapshots=2")
    file = Path("runs/x+soup/fold0/weights.pt")
    assert "fold 0  mean of epoch4, epoch5" in soup(run_cli, "x")
    content, written_at = file.read_bytes(), file.stat().st_mtime_ns
    assert "nothing to do" in soup(run_cli, "x") and file.stat().st_mtime_ns == written_at
    train("x", "train.snapshots=2", fold="1")
    out = soup(run_cli, "x")
    assert "fold 1  mean" in out and "fold 0  mean" not in out and file.stat().st_mtime_ns == written_at
    assert read_json(Path("runs/x+soup/metrics.json"))["folds_done"] == [0, 1]

    copy_snapshot(5, 4)
    out = soup(run_cli, "x")
    assert "fold 0  mean" in out and "fold 1  mean" not in out and file.read_bytes() != content
    shutil.rmtree("runs/x/fold0/snapshots")  # to save disk space
    assert "nothing to do" in soup(run_cli, "x")

    assert run_cli("train.py", "--restart", "--fold", "0", "--name", "x", *FIVE, "train.snapshots=2")[0] == 0
    Path("runs/x+soup/metrics.json").unlink()  # killed before the summary
    assert "fold 0  mean" in soup(run_cli, "x") and file.read_bytes() == content  # the same training, so the same bits
    train("x", "train.snapshots=1", "--restart")
    assert "the old run is kept" in soup(run_cli, "x") and not Path("runs/x+soup/fold1").exists()


def test_soup_records_its_own_time_and_cost_and_the_snapshots_that_were_averaged(train, run_cli):
    train("x", "train.snapshots=2")
    for file, change in (("run.json", {"created": "2020-01-01"}), ("fold0/fold.json", {"seconds": 100.0})):
        write_json(Path("runs/x", file), {**read_json(Path("runs/x", file)), **change})
    start = time.perf_counter()
    soup(run_cli, "x")
    elapsed = time.perf_counter() - start
    record, source = read_json(Path("runs/x+soup/run.json")), read_json(Path("runs/x/run.json"))
    assert record["created"] > source["created"] and (record["name"], record["soup_of"]) == ("x+soup", "x")
    fold, source_fold = (read_json(Path(f"runs/{name}/fold0/fold.json")) for name in ("x+soup", "x"))
    assert 100 < fold["seconds"] <= 100 + elapsed
    names = [f"epoch{epoch}.pt" for epoch in (4, 5)]
    hashes = {name: file_sha256(Path("runs/x/fold0/snapshots", name)) for name in names}
    assert fold["snapshots"] == source_fold["snapshots"] == hashes and list(fold["snapshots"]) == names
    assert fold["weights_sha256"] == file_sha256(Path("runs/x+soup/fold0/weights.pt"))
    assert (fold["kept"], fold["epochs"], fold["best_epoch"]) == ("soup", 5, None)
    assert fold["images"] == source_fold["images"]

    file = Path("runs/x+soup/fold0/weights.pt")
    content = file.read_bytes()
    shutil.copy("runs/x/fold0/weights.pt", file)  # not what the record says
    assert f"{file} is not what was written (another sha256), so it is made again" in soup(run_cli, "x")
    assert file.read_bytes() == content


def test_soup_of_other_snapshots_is_refused_and_nothing_is_written(train, run_cli):
    train("x", "train.snapshots=2")
    kept = Path("runs/x/fold0/snapshots")
    shutil.copy(kept / "epoch5.pt", kept / "epoch4.pt")
    fold_file = Path("runs/x/fold0/fold.json")
    record = read_json(fold_file)
    changes = [
        (record, "epoch4.pt is not the file that was recorded"),
        ({**record, "snapshots": {"epoch5.pt": record["snapshots"]["epoch5.pt"]}}, "epoch4.pt is not the file"),
        ({key: value for key, value in record.items() if key != "snapshots"}, "epoch4.pt is of epoch 5, where epoch 4"),
    ]
    for content, message in changes:  # the last: trained by a version that recorded no hashes of snapshots
        write_json(fold_file, content)
        status, _, err = run_cli("comp", "soup", "x")
        assert status == 2 and message in err and err.count("\n") == 1
        assert not list(Path("runs/x+soup").rglob("*.pt"))


def test_train_init_weights_other_than_recorded_are_refused(train):
    train("x")
    content = load_checkpoint(Path("runs/x/fold0/weights.pt"))
    torch.save({**content, "epoch": 1}, "runs/x/fold0/weights.pt")
    assert "fold0/weights.pt is not the file that was recorded" in train("y", "train.init=x", fails=True)
    assert not Path("runs/y/fold0/weights.pt").exists()


def test_soup_full_fold_is_averaged_too(train, run_cli):
    train("x", "train.snapshots=2", fold="full")
    assert "there is no CV score" in soup(run_cli, "x")
    assert run_cli("infer.py", "x+soup", "--fold", "full")[0] == 0


def test_soup_mistakes_are_one_line_errors(train, run_cli):
    def fails(expected: str, *arguments: str) -> None:
        status, _, err = run_cli(*arguments)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and expected in err, err

    train("plain")
    fails("train with train.snapshots=5", "comp", "soup", "plain")
    train("x", "train.snapshots=2")
    fails("train with train.snapshots=5", "comp", "soup", "x", "plain")
    assert not Path("runs/x+soup").exists()
    train("x+soup")
    fails("runs/x+soup is not a soup", "comp", "soup", "x")
    shutil.rmtree("runs/x+soup")
    Path("runs/x/fold0/snapshots/epoch4.pt").rename("away.pt")
    fails("epoch4.pt is missing", "comp", "soup", "x")
    assert not Path("runs/x+soup").exists()
    Path("runs/x/fold0/snapshots/epoch4.pt").write_bytes(Path("away.pt").read_bytes()[:999])
    fails("epoch4.pt is not the file that was recorded", "comp", "soup", "x")
    shutil.copy("away.pt", "runs/x/fold0/snapshots/epoch4.pt")
    soup(run_cli, "x")
    fails("is a soup already", "comp", "soup", "x+soup")
    fails("is a soup of x", "train.py", "-c", "runs/x+soup/config.yaml")
    fails("is a soup of x", "train.py", "-c", "runs/x+soup/config.yaml", "--restart", "--fold", "1")
    assert "nothing to do" in soup(run_cli, "x")
    fails("is in a reserved directory", "train.py", *FIVE, "--name", "blends/x")


def test_delete_snapshots_removes_the_leftovers_of_a_killed_save(tmp_path):
    fold_dir = FoldDir(tmp_path)
    fold_dir.snapshot_path(1).parent.mkdir()
    for name in ("epoch1.pt", "epoch2.pt", "epoch3.pt", ".epoch2.pt.1194.tmp"):
        (fold_dir.snapshot_path(1).parent / name).touch()
    delete_snapshots(fold_dir, (2, 3))
    assert {file.name for file in fold_dir.snapshot_path(1).parent.iterdir()} == {"epoch2.pt", "epoch3.pt"}
