"""A frozen backbone: what stays, what trains, and a training that is resumed before, at and after the boundary."""

from __future__ import annotations

import io

import pytest
import torch
from timm.utils import ModelEmaV3

from comp.engine.fit import Epoch, TrainState
from comp.engine.freeze import BackboneFreezer
from comp.engine.kernels.fuse import fuse
from comp.engine.optim import make_optimizer
from comp.zoo.build import build_model
from comp.zoo.classifier import backbone_parameters
from tests.engine.test_fit import CPU, prepare, train, weights


def start(fused: bool = True, optimizer: str = "adamw") -> TrainState:
    """Return the start of a training of timm's smallest EfficientNet, with BatchNorm, dropout and stochastic depth."""
    torch.manual_seed(1)
    model = build_model("test_efficientnet", 4, dropout=0.5, drop_path=0.3)
    model = fuse(model) if fused else model
    return TrainState(
        model,
        make_optimizer(model, optimizer, lr=1e-2, weight_decay=0.01, momentum=0.9, fused=False),
        torch.amp.GradScaler(CPU.type, enabled=False),
        ModelEmaV3(model, 0.9, use_warmup=True),
    )


def head(state: TrainState) -> torch.Tensor:
    return state.model.classifier.weight.detach().clone()


def backbone(state: TrainState) -> dict[str, torch.Tensor]:
    """Return copies of the backbone's parameters and statistics."""
    content = state.model.state_dict()
    return {key: value.clone() for key, value in content.items() if not key.startswith("classifier.")}


def is_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("fused", [False, True])
def test_fit_frozen_backbone_keeps_every_bit_until_its_epoch(fused):
    state = start(fused)
    before, head_before = backbone(state), head(state)
    after_epoch = []
    for event in train(state, prepare=prepare, epochs=3, freeze_epochs=2, clip=1.0, clip_mode="agc"):
        if isinstance(event, Epoch):
            after_epoch.append((backbone(state), head(state)))
    assert is_equal(before, after_epoch[0][0]) and is_equal(before, after_epoch[1][0])
    assert not torch.equal(head_before, after_epoch[0][1])
    changed = [key for key, value in after_epoch[2][0].items() if not torch.equal(value, before[key])]
    assert len(changed) == len(before)  # weights and statistics alike


def test_fit_schedule_does_not_know_of_the_frozen_epochs():
    rates = []
    for freeze_epochs in (0, 1):
        state = start()
        list(train(state, prepare=prepare, schedule="cosine", freeze_epochs=freeze_epochs))
        rates.append([row["lr"] for row in state.history])
    assert rates[0] == rates[1]


def test_fit_frozen_for_all_epochs_trains_the_classifier_alone():
    state = start()
    before = backbone(state)
    list(train(state, prepare=prepare, epochs=1, freeze_epochs=9))
    assert is_equal(before, backbone(state)) and state.step == 5


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lamb"])
def test_fit_resumed_before_at_and_after_the_boundary_gives_identical_weights(optimizer):
    def run(state):
        return train(state, prepare=prepare, epochs=3, freeze_epochs=1, yield_interval=-1, schedule="cosine")

    whole, saved = start(optimizer=optimizer), {}
    for _ in run(whole):
        saved[whole.step] = io.BytesIO()
        torch.save(whole.state_dict(), saved[whole.step])
    for step in (3, 5, 8):  # an epoch has five
        saved[step].seek(0)
        resumed = start(optimizer=optimizer)
        resumed.load_state_dict(torch.load(saved[step], weights_only=True))
        list(run(resumed))
        assert torch.equal(weights(whole), weights(resumed)), step
        assert is_equal(whole.ema.module.state_dict(), resumed.ema.module.state_dict())


def test_backbone_freezer_leaves_alone_what_was_frozen_before():
    model = build_model("gupta_autoclassifier", 8, size=32)
    encoder = {id(parameter) for parameter in model.encoder.parameters()}
    freezer = BackboneFreezer(model, 1)
    assert freezer.start_epoch(0) and not freezer.start_epoch(0)
    assert not any(parameter.requires_grad for parameter in backbone_parameters(model).values())
    assert all(parameter.requires_grad for parameter in model.fc.parameters())
    assert freezer.start_epoch(1)
    assert {id(parameter) for parameter in model.parameters() if not parameter.requires_grad} == encoder
