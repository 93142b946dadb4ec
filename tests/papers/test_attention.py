from __future__ import annotations

import pytest
import torch
from torch import nn

from comp.papers.models.attention import ATTENTION_MODULES, SE_MODES, make_attention
from tests.papers.small_models import build_small


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("mode", SE_MODES)
@pytest.mark.parametrize(("name", "gate"), [("se", 0.5), ("sa", 0.5), ("cbam", 0.25)])
def test_attention_zero_weights_halve_the_feature_map_per_gate(name, gate, mode):
    attention = make_attention(name, 32, mode)
    for weight in attention.parameters():
        nn.init.zeros_(weight)
    x = torch.randn(2, 32, 9, 7)
    assert torch.equal(attention(x), gate * x)


@pytest.mark.parametrize("mode", SE_MODES)
def test_se_gates_are_one_per_channel_and_ignore_positions(mode):
    attention, x = make_attention("se", 32, mode), torch.rand(2, 32, 6, 6) + 0.1
    gates = attention(x) / x
    assert torch.allclose(gates, gates[:, :, :1, :1].expand_as(gates)) and gates.std((0, 1)).max() > 0.01
    assert torch.allclose(attention(x.flip(2)), attention(x).flip(2), atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "reacts", "hidden"), [("separate", True, [4, 4]), ("average", False, [8]), ("shared", True, [8])]
)
def test_se_average_mode_ignores_cancelling_spikes(mode, reacts, hidden):
    attention = make_attention("se", 32, mode)
    flat = (torch.rand(1, 32, 1, 1) + 0.1).repeat(1, 1, 6, 6)
    spiked = flat.clone()
    spiked[..., 0, 0] += 5
    spiked[..., 5, 5] -= 5
    assert torch.allclose(attention(spiked)[..., 2, 2], attention(flat)[..., 2, 2], atol=1e-5) != reacts
    assert [weight.shape[0] for weight in attention.parameters()][::2] == hidden


def test_sa_gates_are_one_per_position_and_ignore_channels():
    attention, x = make_attention("sa", 32), torch.rand(2, 32, 9, 9) + 0.1
    gates = attention(x) / x
    assert torch.allclose(gates, gates[:, :1].expand_as(gates)) and gates.std((2, 3)).max() > 0.001
    assert torch.allclose(attention(x.flip(1)), attention(x).flip(1), atol=1e-6)


@pytest.mark.parametrize("name", [None, *ATTENTION_MODULES])
def test_attention_fits_both_plain_families(name):
    kwargs = {"attention": name, "se_mode": "average"} if name else {}
    for family in ("gupta_cnn", "gupta_vgg8"):
        assert build_small(family, **kwargs)(torch.rand(2, 3, 28, 28)).shape == (2, 8)
