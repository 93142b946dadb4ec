"""Starting weights by name have the spread their inventors gave them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from comp.zoo.build import build_model
from comp.zoo.init import initialise


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(64, 96, 3), nn.BatchNorm2d(96), nn.Linear(300, 500))


@pytest.mark.parametrize(
    ("how", "conv", "dense"),
    [
        ("he", math.sqrt(2 / (64 * 9)), math.sqrt(2 / 300)),
        ("glorot", math.sqrt(2 / (64 * 9 + 96 * 9)), math.sqrt(2 / 800)),
    ],
)
def test_the_spread_is_that_of_the_formula_and_biases_are_zero(how, conv, dense):
    model = layers()
    initialise(model, how)
    assert model[0].weight.std().item() == pytest.approx(conv, rel=0.02)
    assert model[2].weight.std().item() == pytest.approx(dense, rel=0.02)
    assert not model[0].bias.any() and not model[2].bias.any() and (model[1].weight == 1).all()


def test_own_leaves_everything_as_it_is():
    model, same = layers(), layers()
    initialise(model, "own")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_a_model_that_ends_in_dense_layers_is_told_the_size_and_another_is_not():
    assert build_model("pinto_cnn", 8, size=56)(torch.zeros(1, 3, 56, 56)).shape == (1, 8)
    assert build_model("resnet18", 8, size=56)(torch.zeros(1, 3, 40, 40)).shape == (1, 8)
    assert build_model("pinto_cnn", 8, size=56, kwargs={"img_size": 28})(torch.zeros(1, 3, 28, 28)).shape == (1, 8)


def test_glorot_is_keras_uniform_draw_and_its_bound_is_kept():
    model = layers()
    initialise(model, "glorot")
    bound = math.sqrt(6 / 800)
    assert 0.99 * bound < model[2].weight.abs().max().item() <= bound
