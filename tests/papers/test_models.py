from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from comp.errors import UserError
from comp.papers.model_sizes import build_on_meta
from comp.zoo.build import build_model, normalisation
from tests.papers.small_models import KIT_MODELS, MODELS_WITH_DENSE_LAYERS, SMALLEST_SIZES, build_small


@pytest.mark.parametrize("name", KIT_MODELS)
def test_model_takes_small_images_and_has_a_feature_map(name):
    model = build_small(name)
    images = torch.rand(2, 3, *[SMALLEST_SIZES[name]] * 2)
    logits = model.train()(images)
    logits.sum().backward()
    assert logits.shape == (2, 8) and torch.isfinite(logits).all()
    head = model.get_classifier()
    assert isinstance(head, nn.Linear) and head.weight.grad.abs().sum() > 0
    assert (head.in_features, head.out_features) == (model.num_features, model.num_classes)
    if name != "pinto_mlnn":
        assert model.forward_features(images).ndim == 4


@pytest.mark.parametrize("name", KIT_MODELS)
def test_model_takes_other_sizes_and_channels(name):
    sizes = {"img_size": 96} if name in MODELS_WITH_DENSE_LAYERS else {}
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=3, in_chans=1, **sizes).eval()
        assert model(torch.zeros(1, 1, 96, 96)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "size", "smallest"),
    [
        ("gupta_vgg18", 28, 64),
        ("gupta_cbam_vgg15", 28, 32),
        ("sharif_simple_cnn", 15, 16),
        ("gupta_autoclassifier", 12, 16),
    ],
)
def test_model_too_small_images_are_refused_with_the_smallest_size(name, size, smallest):
    with pytest.raises(ValueError, match=f"img_size={size} .* the smallest is {smallest}"):
        timm.create_model(name, img_size=size)
    with pytest.raises(UserError, match=f"the smallest is {smallest}"):
        build_model(name, 8, size=size)


def test_model_default_dropouts_are_the_papers():
    rates = {
        name: {layer.p for layer in build_small(name).neck.modules() if isinstance(layer, nn.Dropout)}
        for name in (
            "karakus_baseline_cnn",
            "karakus_skip_cnn",
            "gupta_cnn",
            "gupta_vgg8",
            "gupta_sa_cnn",
            "gupta_vgg8_convs",
            "gupta_inception",
            "gupta_autoclassifier",
            "pinto_cnn",
        )
    }
    assert list(rates.values()) == [{0.5}, {0.3}, {0.0}, {0.2}, {0.2}, {0.0}, {0.2}, {0.3}, set()]


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("karakus_baseline_cnn", ["Conv2d", "ReLU", "BatchNorm2d"] * 3),
        ("karakus_skip_cnn", ["Conv2d", "ReLU", "BatchNorm2d"] * 2),
        ("gupta_cnn", ["Conv2d", "BatchNorm2d", "ReLU"] * 4),
        ("gupta_vgg8", ["Conv2d", "BatchNorm2d", "ReLU"] * 6),
        ("gupta_autoclassifier", ["Conv2d", "BatchNorm2d", "ReLU"] * 5),
    ],
)
def test_model_batch_norm_follows_the_activation_in_karakus_and_precedes_it_in_gupta(name, order):
    layers = [type(layer).__name__ for layer in build_small(name).features.modules()]
    assert [layer for layer in layers if layer in order][: len(order)] == order


@pytest.mark.parametrize("name", [name for name in KIT_MODELS if name.startswith(("karakus", "gupta"))])
def test_model_batch_norms_have_keras_constants(name):
    norms = [layer for layer in build_on_meta(name, {}, 64).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms and {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


@pytest.mark.parametrize("name", KIT_MODELS)
def test_model_normalisation_is_the_papers(name):
    imagenet = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    expected = imagenet if name.startswith("sharif") else ([0.0] * 3, [1.0] * 3)
    assert normalisation(build_on_meta(name, {}, 64)) == expected
