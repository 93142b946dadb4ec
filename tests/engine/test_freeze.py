"""A frozen backbone: what stays, what trains, and a training that is resumed before, at and after the boundary."""

from __future__ import annotations

import copy
import io

import pytest
import torch

from comp.engine.fit import Epoch
from comp.engine.freeze import BackboneFreezer
from comp.engine.kernels.fuse import fuse
from comp.zoo.build import build_model
from comp.zoo.classifier import backbone_parameters
from tests.engine.test_fit import make_state, noisy_network, prepare, train, weights


def backbone(state) -> dict[str, torch.Tensor]:
    """Return copies of the backbone's parameters and statistics."""
    content = state.model.state_dict()
    return {key: value.clone() for key, value in content.items() if not key.startswith("fc.")}


def is_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("fused", [False, True])
def test_fit_frozen_backbone_keeps_every_bit_until_its_epoch(fused):
    state = make_state(fuse(noisy_network()) if fused else noisy_network(), ema=0.5)
    before, head = backbone(state), state.model.fc.weight.detach().clone()
    after_epoch = []
    for event in train(state, prepare=prepare, epochs=3, freeze_epochs=2, clip=1.0, clip_mode="agc"):
        if isinstance(event, Epoch):
            after_epoch.append((backbone(state), state.model.fc.weight.detach().clone()))
    assert is_equal(before, after_epoch[0][0]) and is_equal(before, after_epoch[1][0])
    assert not torch.equal(head, after_epoch[0][1])
    changed = [key for key, value in after_epoch[2][0].items() if not torch.equal(value, before[key])]
    assert len(changed) == len(before)  # weights and statistics alike


def test_fit_schedule_does_not_know_of_the_frozen_epochs():
    rates = []
    for freeze_epochs in (0, 1):
        state = make_state(noisy_network())
        list(train(state, prepare=prepare, schedule="cosine", freeze_epochs=freeze_epochs))
        rates.append([row["lr"] for row in state.history])
    assert rates[0] == rates[1]


def test_fit_frozen_for_all_epochs_trains_the_classifier_alone():
    state = make_state(noisy_network())
    before = backbone(state)
    list(train(state, prepare=prepare, epochs=1, freeze_epochs=9))
    assert is_equal(before, backbone(state)) and state.step == 5


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lamb"])
def test_fit_resumed_before_at_and_after_the_boundary_gives_identical_weights(optimizer):
    def start():
        return make_state(fuse(noisy_network()), optimizer, ema=0.9)

    def run(state):
        return train(state, prepare=prepare, epochs=3, freeze_epochs=1, yield_interval=-1, schedule="cosine")

    whole, saved = start(), []
    for _ in run(whole):
        buffer = io.BytesIO()
        torch.save(copy.deepcopy(whole.state_dict()), buffer)
        saved.append(buffer)
    for index in range(0, len(saved), 2):
        saved[index].seek(0)
        resumed = start()
        resumed.load_state_dict(torch.load(saved[index], weights_only=True))
        list(run(resumed))
        assert torch.equal(weights(whole), weights(resumed)), index
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
