from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from comp.papers.model_sizes import build_on_meta
from comp.zoo.build import build_model
from tests.papers.small_models import build_small


def copy_state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def changed_keys(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    return {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}


def train_step(model: nn.Module, loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
    loss(model.train()(torch.rand(4, 3, 28, 28))).backward()
    optimizer.step()


def test_autoclassifier_training_does_not_change_the_frozen_encoder():
    model = build_small("gupta_autoclassifier")
    before = copy_state(model)
    train_step(model, torch.Tensor.sum)
    changed = changed_keys(before, model)
    assert {"fc.weight", "features.2.running_mean"} < changed and not [key for key in changed if "encoder" in key]
    assert not model.encoder.training and model.features.training


def test_autoclassifier_pretraining_changes_only_the_encoder():
    model = build_small("gupta_autoclassifier")
    stage, before = model.autoencoder(), copy_state(model)
    decoder_before = copy_state(stage.decoder)
    train_step(stage, torch.Tensor.mean)
    changed = changed_keys(before, model)
    assert {"encoder.latent.weight", "encoder.layers.0.weight", "encoder.layers.1.running_mean"} < changed
    assert all(key.startswith("encoder.") for key in changed)
    assert changed_keys(decoder_before, stage.decoder) == set(decoder_before)
    model.freeze()
    before = copy_state(model)
    train_step(model, torch.Tensor.sum)
    changed = changed_keys(before, model)
    assert "fc.weight" in changed and not [key for key in changed if "encoder" in key]
    assert before.keys() == build_small("gupta_autoclassifier").state_dict().keys()  # without the decoder


@pytest.mark.parametrize("size", [28, 64])
def test_reconstruction_error_is_a_mean_over_each_image(size):
    torch.manual_seed(0)
    stage = build_model("gupta_autoclassifier", 8, size=size).autoencoder().eval()
    images = torch.rand(3, 3, size, size)
    for weight in stage.decoder[-1].parameters():
        nn.init.zeros_(weight)
    assert torch.allclose(stage(images), images.square().mean((1, 2, 3)))


def test_autoencoder_has_the_papers_count_and_the_models_device():
    stage = build_on_meta("gupta_autoclassifier", {}, 64).autoencoder()
    statistics = sum(value.numel() for key, value in stage.state_dict().items() if "running" in key)
    assert sum(weight.numel() for weight in stage.parameters() if weight.requires_grad) + statistics == 1_306_947
    assert {weight.device.type for weight in stage.parameters()} == {"meta"}
    assert sum(isinstance(layer, nn.ELU) for layer in stage.modules()) == 4 + 4
