from __future__ import annotations

import pytest
import torch

from comp.errors import UserError
from comp.papers.model_sizes import build_on_meta
from comp.papers.models import gupta_inception
from comp.papers.models.layers import SamePadMaxPool
from tests.papers.small_models import build_small


def test_same_pad_max_pool_keeps_the_size_and_looks_right_and_below():
    pooled = SamePadMaxPool()(torch.tensor([[[[5.0, 1.0, 2.0], [0.0, 3.0, 4.0], [-2.0, -7.0, -9.0]]]]))
    assert pooled.tolist() == [[[[5.0, 4.0, 4.0], [3.0, 4.0, 4.0], [-2.0, -7.0, -9.0]]]]


def test_inception_average_pools_leave_the_padding_out_as_keras_does():
    ones = torch.ones(1, 1, 8, 8)
    assert torch.equal(gupta_inception.downsample_pool()(ones), ones[..., :4, :4])
    assert torch.equal(gupta_inception.avg_pool_branch(1, 1)[0](ones), ones)


@pytest.mark.parametrize(
    ("kwargs", "side"),
    [
        ({}, 32),
        ({"final_pool": False}, 32),
        ({"pool_stride": 2}, 2),
        ({"pool_stride": 2, "final_pool": False}, 4),
        ({"pool_stride": 2, "layers": 3}, 4),
    ],
)
def test_gupta_cnn_pools_halve_the_feature_map_only_with_stride_2(kwargs, side):
    model = build_on_meta("gupta_cnn", kwargs, 32)
    assert model.forward_features(torch.zeros(1, 3, 32, 32, device="meta")).shape[2:] == (side, side)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"attention": "cbma"}, "attention=cbma is unknown; use one of se, sa, cbam"),
        ({"attention": "se", "se_mode": "mean"}, "se_mode=mean is unknown; use one of separate, average, shared"),
        ({"pool_stride": 3}, "pool_stride 1 or 2"),
        ({"layers": 7}, "1 to 6 groups"),
    ],
)
def test_gupta_cnn_unknown_option_is_refused(kwargs, message):
    with pytest.raises(UserError, match=message):
        build_small("gupta_cnn", **kwargs)
