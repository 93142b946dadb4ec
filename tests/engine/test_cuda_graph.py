"""A step that is replayed from a graph trains as an eager one: the graph of these tests replays the function itself."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from comp.engine import cuda_graph, fit
from comp.engine.cuda_graph import WARM_UP_STEPS, StepGraph, portable_state, use_cuda_graph
from comp.engine.mixup import Mix
from comp.engine.optim import make_optimizer, set_lr
from comp.errors import UserError
from tests.engine.test_fit import make_state, prepare, train, weights

CUDA = torch.device("cuda")
LR = 2.0**-7  # the same number in float32, which a tensor has, and in Python's float


def noisy_network() -> nn.Module:
    """A model with BatchNorm's statistics and dropout, whose masks a replay must draw as an eager step does."""
    torch.manual_seed(1)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(32, 4))


class ReplayedFunction:
    """A graph that calls the function at each replay. Its result is invalid until then, as that of a real one."""

    instances: list[ReplayedFunction]

    def __init__(self):
        self.replays = self.captures = 0
        self.instances.append(self)

    def warm_up(self, function):
        return function()

    def capture(self, function):
        self.function, self.result, self.captures = function, torch.full((), torch.nan), self.captures + 1
        return self.result

    def replay(self):
        self.replays += 1
        self.result.copy_(self.function())


@pytest.fixture
def graphs(monkeypatch) -> list[ReplayedFunction]:
    """The graphs that a training on the CPU makes."""
    monkeypatch.setattr(ReplayedFunction, "instances", [], raising=False)
    monkeypatch.setattr(fit, "StepGraph", partial(StepGraph, make_graph=ReplayedFunction))
    return ReplayedFunction.instances


def trained(optimizer: str = "adamw", **options) -> fit.TrainState:
    """Train the noisy network for three epochs of five batches, the last of which is smaller."""
    state = make_state(noisy_network(), optimizer, lr=LR)
    for _ in train(state, images=37, epochs=3, prepare=prepare, schedule="constant", **options):
        pass
    return state


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("options", [{}, {"clip": 0.1}], ids=str)
def test_fit_with_graph_gives_the_weights_of_eager_steps(graphs, monkeypatch, optimizer, options):
    monkeypatch.setattr("tests.engine.test_fit.LEARNING_RATE", LR)
    eager = trained(optimizer, **options)
    assert not graphs
    replayed = trained(optimizer, cuda_graph=True, **options)
    assert sum(graph.captures for graph in graphs) == 1
    assert sum(graph.replays for graph in graphs) == 3 * 4 - WARM_UP_STEPS  # the fifth batch of an epoch is smaller
    assert torch.equal(weights(replayed), weights(eager))
    assert [row["train_loss"] for row in replayed.history] == [row["train_loss"] for row in eager.history]


def test_fit_with_graph_captures_again_when_mixup_ends(graphs, monkeypatch):
    monkeypatch.setattr("tests.engine.test_fit.LEARNING_RATE", LR)
    mix = Mix(mixup=0.5, cutmix=0.0, off_epoch=1, classes=4)
    eager, replayed = trained(mix=mix), trained(mix=mix, cuda_graph=True)
    assert sum(graph.captures for graph in graphs) == 2
    assert torch.equal(weights(replayed), weights(eager))


def test_fit_with_graph_follows_the_learning_rate(graphs):
    rates = [row["lr"] for row in trained_with_schedule(cuda_graph=True).history]
    assert rates == pytest.approx([row["lr"] for row in trained_with_schedule().history], rel=1e-6)
    assert len(set(rates)) == 3


def trained_with_schedule(**options) -> fit.TrainState:
    state = make_state(noisy_network())
    for _ in train(state, images=40, epochs=3, prepare=prepare, schedule="step", **options):
        pass
    return state


def test_train_state_of_captured_step_is_resumed_eagerly(graphs):
    saved = trained(cuda_graph=True).state_dict()
    groups = saved["optimizer"]["param_groups"]
    assert all(isinstance(group["lr"], float) and not group["capturable"] for group in groups)
    make_state(noisy_network()).load_state_dict(saved)


def test_portable_state_does_not_change_the_optimizer():
    optimizer = torch.optim.AdamW(nn.Linear(2, 2).parameters(), lr=LR)
    cuda_graph.make_capturable(optimizer)
    portable_state(optimizer)
    assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor) and optimizer.param_groups[0]["capturable"]


def test_set_lr_of_captured_step_keeps_the_tensor_that_the_graph_reads():
    optimizer = optimizer_of()
    cuda_graph.make_capturable(optimizer)
    tensors = [group["lr"] for group in optimizer.param_groups]
    set_lr(optimizer, 0.5)
    assert all(group["lr"] is tensor for group, tensor in zip(optimizer.param_groups, tensors, strict=True))
    assert {tensor.item() for tensor in tensors} == {0.5}


def optimizer_of(name: str = "adamw", **options) -> torch.optim.Optimizer:
    return make_optimizer(nn.Linear(2, 2), name, lr=LR, weight_decay=0.0, momentum=0.9, **options)


def test_use_cuda_graph_is_possible_on_cuda_with_one_batch_per_step_and_a_fused_optimizer():
    assert use_cuda_graph("auto", CUDA, 1, optimizer_of())
    assert not use_cuda_graph("off", CUDA, 1, optimizer_of())


@pytest.mark.parametrize(
    ("device", "accumulate", "optimizer"),
    [("cpu", 1, {}), ("cuda", 2, {}), ("cuda", 1, {"fused": False}), ("cuda", 1, {"name": "lion"})],
)
def test_use_cuda_graph_where_impossible_is_eager_or_an_error(device, accumulate, optimizer):
    arguments = torch.device(device), accumulate, optimizer_of(**optimizer)
    assert not use_cuda_graph("auto", *arguments)
    with pytest.raises(UserError, match=r"train\.cuda_graph=on is impossible here: .*; use auto or off"):
        use_cuda_graph("on", *arguments)
