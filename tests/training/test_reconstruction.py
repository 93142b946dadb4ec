"""Pretraining by reconstruction: the encoder is trained, then frozen; a kill in either stage loses nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from comp.records import checkpoint
from comp.training import stage
from tests.conftest import SMALL

STAGES = [
    *SMALL,
    "model.name=gupta_autoclassifier",
    "model.drop_path=null",
    "model.init=glorot",
    "data.size=32",
    "train.pretrain_epochs=3",
    "optim.name=adam",
    "train.save_every=0",
    "augment.policy=flips",
]


@pytest.fixture
def fold(workspace, run_cli):
    """Return `fold(name)`, which trains fold 0 under that name and returns (status, stdout, stderr)."""
    assert run_cli("comp", "folds", *SMALL)[0] == 0
    return lambda name, *more: run_cli("train.py", "--fold", "0", "--name", name, *STAGES, *more)


def weights(name: str) -> dict[str, torch.Tensor]:
    return torch.load(f"runs/{name}/fold0/weights.pt", weights_only=True)["state_dict"]


def interrupt_save(monkeypatch, module, after: int) -> None:
    """Interrupt the process at the save that follows `after` saves of `module`."""
    saves, save_checkpoint = [], module.save_checkpoint

    def save(*arguments):
        saves.append(1)
        if len(saves) > after:
            raise KeyboardInterrupt
        save_checkpoint(*arguments)

    monkeypatch.setattr(module, "save_checkpoint", save)


def test_pretrain_trains_the_encoder_and_freezes_it(fold):
    assert fold("whole")[0] == 0
    history = pd.read_csv("runs/whole/fold0/pretrain.csv")
    assert list(history["epoch"]) == [1, 2, 3] and history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert Path("runs/whole/fold0/train.log").read_text().count("reconstruction") == 3
    assert fold("longer", "train.epochs=3")[0] == 0 and fold("without", "train.pretrain_epochs=0")[0] == 0
    whole, longer, without = (weights(name) for name in ("whole", "longer", "without"))
    encoder = [key for key in whole if key.startswith("encoder.")]
    assert encoder and not any("decoder" in key for key in whole)
    assert all(torch.equal(whole[key], longer[key]) for key in encoder)
    assert not torch.equal(whole["encoder.latent.weight"], without["encoder.latent.weight"])
    assert (
        int(whole["encoder.layers.1.num_batches_tracked"]) > 0
        and int(without["encoder.layers.1.num_batches_tracked"]) == 0
    )


@pytest.mark.parametrize(("module", "after"), [(stage, 0), (stage, 2), (checkpoint, 0), (checkpoint, 1)])
def test_pretrain_killed_in_either_stage_gives_identical_weights(fold, monkeypatch, module, after):
    assert fold("whole")[0] == 0
    with monkeypatch.context() as patch:
        interrupt_save(patch, module, after)
        assert fold("killed")[0] == 130
    assert fold("killed")[0] == 0
    whole, killed = weights("whole"), weights("killed")
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
    assert {path.name for path in Path("runs/killed/fold0").glob("*.pt")} == {"weights.pt"}


def test_pretrain_model_without_decoder_is_refused_before_anything_is_written(fold):
    status, _, err = fold("x", "model.name=resnet18", "data.size=64")
    assert status == 2 and "train.pretrain_epochs" in err and not Path("runs/x").exists()
