"""Trainings that start from a file of weights or from timm's: each kind of target, resumed, finished, refused."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import timm
import torch
from timm.models import _builder

from comp.files import read_json
from comp.training import progress
from tests.conftest import SMALL
from tests.study.test_tune import tune  # noqa: F401  a fixture
from tests.test_kinds import SMALL as SMALL_KINDS
from tests.test_kinds import kinds  # noqa: F401  a fixture

FILE = Path("weights.pth")
START = [*SMALL, f"model.weights={FILE}", "train.freeze_epochs=1", "train.save_every=0"]


def publish(path: Path = FILE, name: str = "test_efficientnet", seed: int = 5) -> dict[str, torch.Tensor]:
    """Write the weights of a model of 1,000 classes, as others publish them, and return those of its backbone."""
    torch.manual_seed(seed)
    weights = timm.create_model(name).state_dict()
    torch.save(weights, path)
    return {key: value for key, value in weights.items() if not key.startswith("classifier.")}


def kept(run: str, fold: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(f"runs/{run}/fold{fold}/weights.pt", weights_only=True)["state_dict"]


@pytest.fixture
def train(workspace, run_cli):
    """Return `train(name, ...)`, which trains fold 0 from weights.pth and returns (status, stdout, stderr)."""
    assert run_cli("comp", "folds", *SMALL)[0] == 0
    publish()
    return lambda name, *more: run_cli("train.py", "--fold", "0", "--name", name, *START, *more)


def test_train_from_a_file_keeps_a_frozen_backbone_and_records_the_file(train, run_cli):
    backbone = publish()
    status, out, err = train("x", "train.epochs=1")
    total = len(backbone) + 2
    assert (status, err) == (0, "")
    assert out.count("weights: ") == 1 and "frozen: all but the classifier, for 1 of 1 epochs" in out
    assert f"weights: weights.pth: {total - 2} of {total} tensors loaded; 2 of another shape (classifier." in out
    assert all(torch.equal(value, kept("x")[key]) for key, value in backbone.items())
    sha256 = hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert read_json(Path("runs/x/run.json"))["model_weights_sha256"] == sha256
    assert train("y", "train.epochs=2")[0] == 0  # unfrozen in its second epoch
    assert not any(torch.equal(value, kept("y")[key]) for key, value in backbone.items() if value.ndim == 4)


def test_train_finished_run_does_not_need_its_file_and_a_changed_one_is_refused(train, run_cli):
    assert train("x", "--fold", "0..2")[0] == 0
    backup = FILE.read_bytes()
    FILE.unlink()
    for command in (["train.py", "--name", "x", *START], ["infer.py", "x"], ["comp", "submit", "reproduce", "x"]):
        status, out, err = run_cli(*command)
        assert status == 0, (command, out, err)
    publish(seed=6)
    status, _, err = run_cli("train.py", "--name", "x", *START)
    assert status == 2 and err.count("\n") == 1 and "runs/x was made with other weights than weights.pth has now" in err
    FILE.write_bytes(backup)
    assert run_cli("train.py", "--name", "x", *START)[0] == 0


def test_train_interrupted_while_frozen_resumes_to_the_bit_without_the_file(train, monkeypatch):
    assert train("whole", "train.epochs=3", "train.ema=0.9")[0] == 0
    save, saves = progress.FoldProgress.save, []

    def interrupt(self, fold_dir):
        save(self, fold_dir)
        saves.append(1)
        if len(saves) == stop:
            raise KeyboardInterrupt

    for stop in (1, 2):  # after the frozen epoch, and after the next
        saves.clear()
        with monkeypatch.context() as patch:
            patch.setattr(progress.FoldProgress, "save", interrupt)
            assert train(f"killed{stop}", "train.epochs=3", "train.ema=0.9")[0] == 130
        FILE.rename("elsewhere.pth")  # a fold that has begun does not need it
        assert train(f"killed{stop}", "train.epochs=3", "train.ema=0.9")[0] == 0
        Path("elsewhere.pth").rename(FILE)
        assert all(torch.equal(value, kept(f"killed{stop}")[key]) for key, value in kept("whole").items())


def test_train_fold_that_has_not_begun_needs_the_file(train, run_cli):
    assert train("x", "train.epochs=1")[0] == 0
    FILE.unlink()
    status, _, err = run_cli("train.py", "--fold", "1", "--name", "x", *START, "train.epochs=1")
    assert status == 2 and err == "error: weights.pth is missing; restore it, or name another file\n"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["model.name=test_vit", "data.size=32"], "is of another model than test_vit: "),
        (["model.weights=nothing.pth"], "nothing.pth is missing"),
        (["model.weights=configs/demo.yaml"], "configs/demo.yaml is truncated, or not written by torch.save"),
        (["model.pretrained=true"], "model.pretrained and model.weights each replace the initial weights; set one"),
        (["train.init=other"], "model.weights and train.init each replace the initial weights; set one of them"),
        (["model.weights=null"], "train.freeze_epochs would freeze random weights"),
        (
            [
                "model.weights=null",
                "train.freeze_epochs=0",
                "model.name=gupta_cnn",
                "model.drop_path=null",
                "data.size=64",
                "optim.layer_decay=0.5",
            ],
            "optim.layer_decay: gupta_cnn does not name its layers",
        ),
        (["model.weights=null", "train.init=other"], "there is no run other"),
        (
            ["model.weights=null", "model.pretrained=true"],
            "model.pretrained: cannot load weights for test_efficientnet",
        ),
    ],
)
def test_train_initial_weights_that_cannot_be_used_are_one_error_before_the_run(train, monkeypatch, keys, message):
    monkeypatch.setattr(_builder, "load_pretrained", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    status, _, err = train("x", *keys)
    assert status == 2 and err.count("\n") == 1 and message in err, err
    assert not Path("runs/x/run.json").exists() and not list(Path("runs").glob("x/fold*"))


def test_train_file_that_lacks_layers_is_a_warning_that_names_them(train):
    weights = torch.load(FILE, weights_only=True)
    del weights["conv_stem.weight"]
    torch.save({"state_dict": weights}, FILE)
    status, _, err = train("x", "train.epochs=1")
    assert status == 0 and err.startswith(
        "warning: layers before the classifier start from random weights: weights.pth"
    )
    assert err.count("\n") == 1 and "1 not in the file (conv_stem.weight)" in err


def test_soup_of_a_frozen_backbone_keeps_its_weights_and_statistics(train, run_cli):
    backbone = publish()
    assert train("x", "train.freeze_epochs=9", "train.snapshots=2", "model.drop_path=null")[0] == 0
    status, _, err = run_cli("comp", "soup", "x")
    assert status == 0, err
    assert all(torch.equal(value, kept("x+soup")[key]) for key, value in backbone.items() if value.is_floating_point())


def test_train_weights_of_a_run_on_these_images_are_refused(train, run_cli, tmp_path):
    assert train("x", "train.epochs=1")[0] == 0
    status, _, err = train("y", "model.weights=runs/x/fold0/weights.pt")
    assert status == 2 and "was trained on images that the folds here are validated on; set train.init=x" in err
    shutil.copy("runs/x/fold0/weights.pt", "copy.pt")  # of other images, for all that the kit can know
    status, out, _ = train("y", "model.weights=copy.pt", "train.epochs=1")
    assert status == 0 and "tensors loaded\n" in out  # its classifier too: the kit's own file, of as many classes


def test_train_pretrained_is_timms_own_way(train, monkeypatch):
    """Weights of 1,000 classes replace timm's hub, which needs the network; everything after it is real."""
    torch.manual_seed(5)
    published = timm.create_model("test_efficientnet").state_dict()
    monkeypatch.setattr(_builder, "load_state_dict_from_hf", lambda *_, **__: dict(published))
    status, _, err = train("x", "model.weights=null", "model.pretrained=true", "train.epochs=1")
    assert (status, err) == (0, "")
    backbone = {key: value for key, value in published.items() if not key.startswith("classifier.")}
    assert all(torch.equal(value, kept("x")[key]) for key, value in backbone.items())
    assert "model_weights_sha256" not in read_json(Path("runs/x/run.json"))


KINDS = {
    "single": (lambda brightness: "abc"[int(brightness * 2.99)], ["image", "label"], "a", ["train.metric=accuracy"]),
    "binary": (lambda brightness: int(brightness > 0.5), ["id", "bright"], "0", ["train.metric=auc"]),
    "multilabel": (
        lambda brightness: "dim" if brightness < 0.4 else "bright" if brightness > 0.6 else "dim bright",
        ["image", "tags"],
        "dim",
        ["train.metric=micro_f1", "data.separator=' '"],
    ),
    "ordinal": (lambda brightness: int(brightness * 3.99), ["id", "grade"], "0", ["train.metric=quadratic_kappa"]),
    "regression": (
        lambda brightness: round(10 + 90 * brightness, 1),
        ["Id", "points"],
        "50",
        ["train.metric=rmse", "loss.name=smooth_l1", "loss.label_smoothing=0"],
    ),
}


@pytest.fixture
def train_kind(kinds, run_cli):  # noqa: F811
    """Return `train_kind(task)`, which trains a run of that kind from a file, removes the file and predicts."""

    def call(task: str) -> dict[str, torch.Tensor]:
        label, header, placeholder, keys = KINDS[task]
        kinds(label, header, placeholder)
        backbone = publish()
        data = ["data.labels=train.csv", "data.train=images", "data.test=images", f"data.task={task}", *keys]
        start = [f"model.weights={FILE}", "train.freeze_epochs=1", "train.epochs=1"]
        assert run_cli("comp", "folds", *SMALL_KINDS, *data)[0] == 0
        status, out, err = run_cli("train.py", "--name", "run", *SMALL_KINDS, *data, *start)
        assert status == 0 and out.count("weights: ") == 1, err
        FILE.unlink()
        status, _, err = run_cli("infer.py", "run")
        assert status == 0, err
        return backbone

    return call


@pytest.mark.parametrize("task", KINDS)
def test_train_from_a_file_in_each_kind_of_target(train_kind, task):
    backbone = train_kind(task)
    assert all(torch.equal(value, kept("run")[key]) for key, value in backbone.items())
    assert len(Path("submissions/run.csv").read_text().splitlines()) == 10


@pytest.mark.slow
@pytest.mark.parametrize("task", KINDS)
def test_bundle_of_a_run_from_a_file_in_each_kind_of_target(train_kind, run_cli, task):
    train_kind(task)
    status, out, err = run_cli("comp", "bundle", "run")
    assert status == 0 and "the same bytes in" in out, err


def test_tune_from_a_file_records_it_in_each_trial(tune):  # noqa: F811
    publish()
    study = Path("configs/studies/little.yaml")
    fixed = f"fixed: {{train.epochs: 1, model.weights: {FILE}, train.freeze_epochs: 1}}"
    study.write_text(study.read_text().replace("fixed: {train.epochs: 1}", fixed))
    status, out, err = tune(1)
    assert status == 0, (out, err)
    sha256 = hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert read_json(Path("runs/little/trial_0000/run.json"))["model_weights_sha256"] == sha256
