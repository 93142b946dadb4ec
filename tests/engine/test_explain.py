"""Heat maps lie where the image decides, for a hand-made CNN and trained ViTs, and exist for families of timm."""

from __future__ import annotations

import sys

import pytest
import torch
from timm.models import VisionTransformer
from torch import nn

from comp.engine.explain import find_spatial_layer, heat_maps, resize_maps
from comp.engine.features import compute_features
from comp.errors import UserError
from comp.zoo.build import build_model
from comp.zoo.classifier import classifier_layers

CELL = 8  # side of the bright square
FAMILIES = [
    ("test_resnet", 64, {}),
    ("test_efficientnet", 64, {}),
    ("test_convnext", 64, {}),
    ("mobilenetv4_conv_small", 64, {}),
    ("test_vit", 64, {"img_size": 64}),
    (
        "swin_tiny_patch4_window7_224",
        64,
        {"img_size": 64, "window_size": 4, "depths": (1, 1), "num_heads": (1, 2), "embed_dim": 16},
    ),
    ("sharif_deep_efficientnet", 64, {}),
    ("pinto_cnn", 64, {}),
]


class BrightRed(nn.Sequential):
    """A CNN whose first output is the mean of red, and whose second is the mean of blue."""

    def __init__(self) -> None:
        mix, head = nn.Conv2d(3, 2, 1, bias=False), nn.Linear(2, 2, bias=False)
        mix.weight.data = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])[..., None, None]
        head.weight.data = torch.eye(2)
        super().__init__(mix, nn.AvgPool2d(4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def squares(colours: list[int], rows: list[int], columns: list[int], side: int = 32) -> torch.Tensor:
    """Return dark images with a bright square of a colour each, whose place is counted in squares."""
    images = 0.1 * torch.rand(len(colours), 3, side, side, generator=torch.Generator().manual_seed(0))
    for image, colour, row, column in zip(images, colours, rows, columns, strict=True):
        image[colour, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] += 1.5
    return images


def share_inside(maps: torch.Tensor, rows: list[int], columns: list[int]) -> torch.Tensor:
    """Return the share of each map that lies inside its square."""
    inside = [
        heat[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL].sum() / heat.sum()
        for heat, row, column in zip(maps, rows, columns, strict=True)
    ]
    return torch.stack(inside)


def test_heat_maps_of_a_cnn_lie_in_the_square_that_decides():
    rows, columns = [0, 3], [3, 1]
    model, images = BrightRed().eval(), squares([0, 2], rows, columns)
    layer = find_spatial_layer(model, images)
    maps = resize_maps(heat_maps(model, layer, images, torch.tensor([0, 1])), 32)
    assert (layer.layout, layer.side, maps.shape) == ("NCHW", 8, (2, 32, 32))
    assert (share_inside(maps, rows, columns) > 0.5).all()  # of an even map 0.06
    other = resize_maps(heat_maps(model, layer, images, torch.tensor([1, 0])), 32)
    assert (share_inside(other, rows, columns) < 0.2).all()  # the square of another colour is no reason


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}], ids=["class-token", "mean"])
def test_heat_maps_of_a_trained_vit_lie_in_the_square_that_decides(options):
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=32, patch_size=CELL, embed_dim=32, depth=2, num_heads=2, num_classes=3, **options
    )
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(30):
        colours, rows, columns = (torch.randint(0, high, (16,)).tolist() for high in (3, 4, 4))
        loss = nn.functional.cross_entropy(model(squares(colours, rows, columns)), torch.tensor(colours))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    images = squares(colours, rows, columns)
    maps = heat_maps(model, find_spatial_layer(model, images), images, torch.tensor(colours))
    assert share_inside(resize_maps(maps, 32), rows, columns).median() > 0.4  # of an even map 0.06


@pytest.mark.parametrize(("name", "size", "kwargs"), FAMILIES, ids=[family[0] for family in FAMILIES])
def test_heat_maps_and_features_of_families_of_models_need_no_settings(name, size, kwargs):
    torch.manual_seed(0)
    model = build_model(name, 3, size=size, kwargs=kwargs).eval()
    images = torch.randn(2, 3, size, size)
    layer = find_spatial_layer(model, images)
    maps = resize_maps(heat_maps(model, layer, images, torch.tensor([0, 2])), size)
    assert layer.side > 1 and maps.shape == (2, size, size) and 0 <= maps.min() <= maps.max() <= 1
    [classifier] = classifier_layers(model)
    with torch.no_grad():
        features, outputs = compute_features(model, classifier, images)
        torch.testing.assert_close(outputs, model(images))
        torch.testing.assert_close(classifier(features), outputs)


def test_features_without_a_classifier_layer_are_those_before_the_head():
    model = build_model("test_vit", 3, kwargs={"img_size": 32}).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        with_layer = compute_features(model, classifier_layers(model)[0], images)
        torch.testing.assert_close(compute_features(model, None, images), with_layer)


def test_find_spatial_layer_model_of_vectors_is_refused():
    with pytest.raises(UserError, match="no heat map"):
        find_spatial_layer(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)), torch.rand(1, 3, 8, 8))


def test_find_spatial_layer_positions_of_a_reshaped_vector_are_none_of_the_image():
    model = build_model("gupta_autoclassifier", 3, size=64).eval()
    layer = find_spatial_layer(model, torch.rand(1, 3, 64, 64))
    assert any(layer.module is module for module in model.encoder.modules())


def test_heat_maps_without_captum_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    model, images = BrightRed().eval(), squares([0], [0], [0])
    with pytest.raises(UserError, match=r"pip install -e '\.\[report\]'"):
        heat_maps(model, find_spatial_layer(model, images), images, torch.tensor([0]))
