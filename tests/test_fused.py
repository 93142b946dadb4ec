"""The fused operations are the plain ones: same numbers by float64's measure, same names, same behaviour elsewhere."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from timm.models._efficientnet_blocks import SqueezeExcite as TimmSqueezeExcite
from torch import nn

from comp.engine.kernels import compile, fused
from comp.engine.kernels.fused import FusedBatchNorm, choose_kernels, fuse, kernels
from comp.engine.precision import autocast
from comp.zoo.attention import SqueezeExcite
from comp.zoo.build import build_model

pytestmark = pytest.mark.skipif(kernels() is None, reason="no C++ compiler here")
ACTS = {"none": nn.Identity, "relu": nn.ReLU, "silu": nn.SiLU}


def gradients(module: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a training step makes of it: the output, every gradient, every buffer."""
    x = x.clone().requires_grad_()
    out = module.train()(x)
    out.backward(torch.sin(torch.arange(out.numel(), dtype=out.dtype)).view_as(out))
    return {
        "out": out.detach(),
        "x": x.grad,
        **{name: each.grad for name, each in module.named_parameters()},
        **{name: each.clone() for name, each in module.named_buffers()},
    }


def assert_as_exact_as_torch(module: nn.Module, x: torch.Tensor) -> None:
    """By the measure of float64 the fused module errs hardly more than torch in float32: sums over some hundred rows
    in single precision cost up to 3e-6 of the largest value."""
    exact = gradients(copy.deepcopy(module).double(), x.double())
    plain, ours = gradients(copy.deepcopy(module), x), gradients(fuse(copy.deepcopy(module)), x)
    assert exact.keys() == plain.keys() == ours.keys()
    for name, value in exact.items():
        size = value.abs().max().item() + 1e-6
        error, torchs = ((each[name].double() - value).abs().max().item() / size for each in (ours, plain))
        assert error <= 2 * torchs + 5e-6, (name, error, torchs)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("shape", [(4, 24, 9, 7), (2, 3, 5, 5), (1, 130, 1, 2), (32, 5000, 1, 1), (3, 16, 40, 40)])
def test_batch_norm_with_its_activation(act, shape):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.BatchNorm2d(shape[1], momentum=0.3), ACTS[act]())
    nn.init.uniform_(layers[0].weight, -2, 2)
    nn.init.normal_(layers[0].bias)
    assert_as_exact_as_torch(layers, 3 * torch.randn(shape) + 1)


def test_a_mean_much_larger_than_the_deviation_costs_no_accuracy():
    torch.manual_seed(0)
    assert_as_exact_as_torch(nn.Sequential(nn.BatchNorm2d(16), nn.SiLU()), 1000 + torch.randn(8, 16, 20, 20))


@pytest.mark.parametrize(
    "module",
    [
        SqueezeExcite(24),
        SqueezeExcite(8, bias=False),
        TimmSqueezeExcite(24),
        BatchNormAct2d(24, act_layer=nn.SiLU),
        BatchNormAct2d(24, apply_act=False),
    ],
)
def test_parts_of_ours_and_of_timm(module):
    torch.manual_seed(0)
    channels = module.num_features if isinstance(module, nn.BatchNorm2d) else next(module.parameters()).shape[1]
    assert fused._can_fuse(torch.zeros(1)) and type(fuse(copy.deepcopy(module))) is not type(module)
    assert_as_exact_as_torch(module, torch.randn(4, channels, 11, 6))


def test_an_input_of_the_other_layout_is_the_same_input():
    torch.manual_seed(0)
    layers = fuse(nn.Sequential(nn.BatchNorm2d(24), nn.SiLU(), SqueezeExcite(24)))
    x = torch.randn(4, 24, 9, 7)
    first, second = (gradients(copy.deepcopy(layers), each) for each in (x, x.to(memory_format=torch.channels_last)))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "name",
    [
        "sharif_deep_efficientnet",
        "efficientnet_b0",
        "resnet18",
        "karakus_skip_cnn",
        "mobilenetv4_conv_small",
        "convnext_atto",
    ],
)
def test_a_model_keeps_its_names_its_predictions_and_its_first_gradients(name):
    torch.manual_seed(0)
    plain = build_model(name, 8, size=64)
    ours = fuse(copy.deepcopy(plain))
    state, kept = plain.state_dict(), ours.state_dict()
    assert list(state) == list(kept) and all(torch.equal(state[key], kept[key]) for key in state)
    x = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(plain.eval()(x), ours.eval()(x))
    logits = []
    for model in (plain, ours):
        torch.manual_seed(1)  # dropout
        logits.append(model.train()(x))
        logits[-1].square().mean().backward()
    assert torch.allclose(*logits, rtol=1e-3, atol=1e-4)
    first = [dict(model.named_parameters()) for model in (plain, ours)]
    assert all((grad := each.grad) is not None and torch.isfinite(grad).all() for each in first[1].values())
    name, largest = max(((name, each.grad) for name, each in first[0].items()), key=lambda item: item[1].norm())
    assert (largest - first[1][name].grad).norm() <= 0.02 * largest.norm()


def test_what_is_not_a_number_stays_visible():
    layers = fuse(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU())).train()
    x = torch.randn(2, 8, 4, 4)
    x[0, 3, 0, 0] = torch.inf
    assert torch.isnan(layers(x)[:, 3]).all() and torch.isfinite(layers(x)[:, 4]).all()


def test_half_precision_is_torchs_own():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.SiLU())
    ours, x = fuse(copy.deepcopy(plain)), torch.randn(2, 3, 4, 4)
    with autocast(torch.device("cpu"), "bf16"):
        assert torch.equal(plain(x), ours(x)) and ours(x).dtype == torch.bfloat16


def test_the_same_threads_give_the_same_bits():
    torch.manual_seed(0)
    layers, x = fuse(nn.Sequential(nn.BatchNorm2d(40), nn.SiLU(), SqueezeExcite(40))), torch.randn(8, 40, 30, 30)
    first, second = (gradients(copy.deepcopy(layers), x) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_a_compiler_a_model_stays_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(fused, "kernels", lambda: compile.load_native.__wrapped__(tmp_path / "fused.cpp"))
    model = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU())
    assert not isinstance(fuse(model)[0], FusedBatchNorm) and choose_kernels(torch.device("cpu")) == "torch"


def test_a_broken_source_leaves_nothing_behind(tmp_path):
    source = tmp_path / "broken.cpp"
    source.write_text("this is not C++")
    assert compile.load_native(source) is None and not list((tmp_path / "__pycache__").iterdir())
