"""SimCLR: the loss equals its formula, every kind of backbone loses its classifier alone, neighbours tell the class."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from comp.engine.simclr import SimCLR, contrastive_loss, knn_accuracy, remove_classifier
from comp.errors import UserError
from comp.zoo.build import build_model


def test_contrastive_loss_equals_the_formula_of_the_paper():
    projections = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    views = F.normalize(projections, dim=1)

    def of_view(view: int, partner: int) -> float:
        others = sum(math.exp(float(views[view] @ views[other]) / 0.3) for other in range(6) if other != view)
        return -math.log(math.exp(float(views[view] @ views[partner]) / 0.3) / others)

    expected = [(of_view(image, image + 3) + of_view(image + 3, image)) / 2 for image in range(3)]
    assert torch.allclose(contrastive_loss(0.3)(projections, torch.zeros(3)), torch.tensor(expected).double())


@pytest.mark.parametrize(
    "name",
    [
        "test_efficientnet",
        "resnet10t",
        "test_convnext",
        "test_nfnet",
        "test_byobnet",
        "mobilenetv3_small_050",
        "sharif_deep_efficientnet",
    ],
)
def test_backbone_keeps_the_tensors_that_a_classifier_of_any_size_has_in_common(name):
    model, whole = build_model(name, 3, size=64), build_model(name, 5, size=64).state_dict()
    simclr = SimCLR(model, 64, projection=7)
    shapes = {key: value.shape for key, value in simclr.backbone.state_dict().items()}
    left = {key: value.shape for key, value in whole.items() if key not in shapes}
    assert all(whole[key].shape == shape for key, shape in shapes.items())
    assert len(left) in (1, 2) and all(shape[0] == 5 for shape in left.values())  # weight and bias
    assert simclr(torch.zeros(4, 3, 64, 64)).shape == (4, 7)


def test_model_that_passes_a_whole_map_to_its_classifier_is_one_error():
    with pytest.raises(UserError, match="passes 1,048,576 numbers per image to its classifier"):
        SimCLR(build_model("gupta_cnn", 3, size=64), 64, projection=7)


def test_remove_classifier_without_a_single_one_is_one_error():
    with pytest.raises(UserError, match="names no single classifier"):
        remove_classifier(torch.nn.Linear(2, 2))


def test_knn_accuracy_counts_the_class_of_most_neighbours():
    train = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.2, 0.8]])
    targets = torch.tensor([0, 0, 1, 1, 1])
    val = torch.tensor([[5.0, 0.1], [0.1, 5.0]])
    assert knn_accuracy(train, targets, val, torch.tensor([0, 1]), neighbours=2) == 1
    assert knn_accuracy(train, targets, val, torch.tensor([0, 1]), neighbours=5) == 0.5  # most of five are of class 1
