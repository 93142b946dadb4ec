from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from comp.zoo.init import initialise


def make_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(64, 96, 3), nn.BatchNorm2d(96), nn.Linear(300, 500))


@pytest.mark.parametrize(
    ("method", "conv_std", "dense_std"),
    [
        ("he", math.sqrt(2 / (64 * 9)), math.sqrt(2 / 300)),
        ("glorot", math.sqrt(2 / (64 * 9 + 96 * 9)), math.sqrt(2 / 800)),
    ],
)
def test_initialise_weights_have_the_published_spread_and_biases_are_zero(method, conv_std, dense_std):
    model = make_layers()
    initialise(model, method)
    assert model[0].weight.std().item() == pytest.approx(conv_std, rel=0.02)
    assert model[2].weight.std().item() == pytest.approx(dense_std, rel=0.02)
    assert not model[0].bias.any() and not model[2].bias.any() and (model[1].weight == 1).all()


def test_initialise_own_changes_nothing():
    model, reference = make_layers(), make_layers()
    initialise(model, "own")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters(), strict=True))


def test_initialise_glorot_is_uniform_within_keras_bound():
    model = make_layers()
    initialise(model, "glorot")
    bound = math.sqrt(6 / 800)
    assert 0.99 * bound < model[2].weight.abs().max().item() <= bound
