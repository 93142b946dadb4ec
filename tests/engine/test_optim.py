from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from comp.engine.optim import (
    ScheduleOptions,
    check_optimizer,
    clip_gradients,
    count_plateau_drops,
    make_optimizer,
    make_schedule,
    set_lr,
)
from comp.errors import UserError
from comp.zoo.build import build_model


def schedule(name, **changes):
    defaults = {"min_lr": 0.01, "epochs": 50, "warmup_epochs": 0.0, "gamma": 0.1, "step_epochs": 10, "patience": 3}
    return make_schedule(ScheduleOptions(**{"name": name, "lr": 1.0, **defaults, **changes}))


def test_make_schedule_cosine_is_the_papers_formula():
    lr_at = schedule("cosine", lr=1e-3, min_lr=1e-6)
    for epoch in (0, 1, 25, 43, 50):
        assert lr_at(epoch, []) == pytest.approx(1e-6 + 0.5 * (1e-3 - 1e-6) * (1 + math.cos(epoch / 50 * math.pi)))


@pytest.mark.parametrize("name", ["cosine", "constant", "step", "exponential", "plateau"])
def test_make_schedule_warmup_is_linear_and_meets_the_curve(name):
    lr_at = schedule(name, warmup_epochs=4)
    assert [lr_at(done, []) for done in (0, 1, 2, 4)] == pytest.approx([0, 0.25, 0.5, 1.0])


def test_make_schedule_constant_and_step_values():
    assert {schedule("constant")(done, []) for done in (0, 17.5, 50)} == {1.0}
    assert [schedule("step")(done, []) for done in (0, 9.99, 10, 25)] == pytest.approx([1, 1, 0.1, 0.01])


def test_make_schedule_exponential_is_guptas_formula_and_torchs():
    lr_at = schedule("exponential", lr=1e-3, gamma=math.exp(-0.1), min_lr=0.0)
    assert [lr_at(epoch, []) for epoch in (0, 1, 10)] == pytest.approx([1e-3, 1e-3 * math.exp(-0.1), 1e-3 / math.e])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-3)
    reference = torch.optim.lr_scheduler.ExponentialLR(optimizer, math.exp(-0.1))
    for epoch in range(20):
        assert lr_at(epoch, []) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


def test_count_plateau_drops_equals_reduce_lr_on_plateau():
    torch.manual_seed(0)
    for _ in range(20):
        losses = (torch.rand(40) + torch.linspace(1, 0.5, 40)).tolist()
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
        for loss in losses:
            reference.step(loss)
        assert 0.5 ** count_plateau_drops(losses, 3) == optimizer.param_groups[0]["lr"]


def test_make_schedule_never_falls_below_min_lr():
    assert schedule("step", gamma=0.01)(49, []) == 0.01
    assert schedule("exponential")(49, []) == 0.01
    assert schedule("plateau")(49, [1.0] * 49) == 0.01


def test_make_optimizer_biases_and_norms_decay_only_with_decay_all():
    model = build_model("sharif_deep_efficientnet", 8)
    for decay_all in (False, True):
        optimizer = make_optimizer(model, "adamw", lr=1e-3, weight_decay=0.1, momentum=0.9, decay_all=decay_all)
        decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        assert len(decay) == len(list(model.parameters()))
        assert all(decay[id(p)] == (0.1 if p.ndim > 1 or decay_all else 0.0) for p in model.parameters())


def test_make_optimizer_adamw_decays_without_gradient():
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone()
    optimizer = make_optimizer(layer, "adamw", lr=0.1, weight_decay=0.5, momentum=0.9)
    layer(torch.ones(1, 2)).sum().mul(0).backward()  # no gradient: only the decay acts
    optimizer.step()
    assert torch.allclose(layer.weight, before * (1 - 0.1 * 0.5))


def test_set_lr_layer_decay_slows_early_layers_geometrically():
    model = build_model("sharif_deep_efficientnet", 8)
    optimizer = make_optimizer(model, "sgd", lr=1.0, weight_decay=0.0, momentum=0.9, layer_decay=0.5)
    set_lr(optimizer, 0.1)
    lr = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert lr[id(model.fc.weight)] == pytest.approx(0.1)
    blocks = [lr[id(next(block.parameters()))] for block in model.blocks]
    assert all(later == pytest.approx(2 * earlier) for earlier, later in itertools.pairwise(blocks))
    assert lr[id(model.stem[0].weight)] == pytest.approx(blocks[0] / 2)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_vit", "test_convnext"])
def test_make_optimizer_layer_decay_knows_the_layers_of_timms_models(name):
    model = build_model(name, 8)
    optimizer = make_optimizer(model, "adamw", lr=1.0, weight_decay=0.1, momentum=0.9, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    scales = [scale[id(parameter)] for parameter in model.parameters()]
    assert scales[-1] == 1.0 and scales[0] == min(scales) < 0.1 and len(set(scales)) > 3


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion", "nadamw", "rmsproptf"])
def test_make_optimizer_timm_names_take_a_step(name):
    layer = nn.Linear(3, 1)
    optimizer = make_optimizer(layer, name, lr=0.01, weight_decay=0.0, momentum=0.9)
    before = layer.weight.detach().clone()
    layer(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, layer.weight)


def test_check_optimizer_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean adamw"):
        check_optimizer("adamww")


def test_make_optimizer_refused_argument_is_a_user_error():
    with pytest.raises(UserError, match=r"optim\.name=sgd: Nesterov"):
        make_optimizer(nn.Linear(2, 2), "sgd", lr=0.1, weight_decay=0.0, momentum=0.0)


def gradients(mode, value):
    torch.manual_seed(0)
    model = build_model("sharif_deep_efficientnet", 8)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    clip_gradients(model, value, mode)
    return before, {name: p.grad for name, p in model.named_parameters()}, model


def test_clip_gradients_norm_scales_all_gradients_to_the_norm():
    before, after, _ = gradients("norm", 1.0)
    assert torch.cat([g.flatten() for g in after.values()]).norm() == pytest.approx(1.0, rel=1e-4)
    ratios = [(after[name] / before[name]).mean() for name in after]
    assert max(ratios) == pytest.approx(float(min(ratios)), rel=1e-4)


def test_clip_gradients_value_clamps_each_element():
    before, after, _ = gradients("value", 0.5)
    assert all(torch.equal(after[name], before[name].clamp(-0.5, 0.5)) for name in after)


def test_clip_gradients_agc_bounds_units_and_leaves_the_classifier():
    before, after, model = gradients("agc", 0.01)
    weights = dict(model.named_parameters())["head.0.weight"].flatten(1).norm(dim=1)
    assert (after["head.0.weight"].flatten(1).norm(dim=1) <= 0.01 * weights * 1.001).all()
    assert torch.equal(after["fc.weight"], before["fc.weight"])
