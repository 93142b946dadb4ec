from __future__ import annotations

import torch

from comp.zoo.build import build_model


def test_deep_efficientnet_last_feature_map_is_14_by_14():
    model = build_model("sharif_deep_efficientnet", 8).eval()
    assert model.forward_features(torch.zeros(1, 3, 224, 224)).shape == (1, 320, 14, 14)
    assert model(torch.zeros(2, 3, 96, 96)).shape == (2, 8)


def test_deep_efficientnet_state_dict_keeps_its_keys():
    keys = list(build_model("sharif_deep_efficientnet", 8).state_dict())
    assert len(keys) == 294
    assert {
        "stem.0.weight",
        "blocks.0.body.3.reduce.weight",
        "blocks.12.body.6.expand.bias",
        "head.1.running_var",
        "fc.bias",
    } < set(keys)


def test_deep_efficientnet_stochastic_depth_acts_in_training_only():
    torch.manual_seed(0)
    model = build_model("sharif_deep_efficientnet", 8, drop_path=0.5, dropout=0.0)
    rates = {module.drop_prob for module in model.modules() if type(module).__name__ == "DropPath"}
    assert rates == {0.5}
    images = torch.randn(4, 3, 64, 64)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(images), model(images))
        model.train()
        assert not torch.equal(model(images), model(images))
