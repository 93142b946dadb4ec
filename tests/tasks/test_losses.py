from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from comp.schema import Loss
from comp.tasks.losses import balanced_weights, binary_loss, class_loss, focal, number_loss

torch.manual_seed(0)
LOGITS = torch.randn(6, 4)
TARGETS = torch.tensor([0, 1, 2, 3, 0, 0])
WEIGHTS = balanced_weights(TARGETS, 4)


def loss(**options):
    return class_loss(Loss(**options), TARGETS.numpy(), 4, torch.device("cpu"))


def test_cross_entropy_label_smoothing_is_the_papers_formula():
    log_p = LOGITS.log_softmax(1)
    expected = -0.9 * log_p[range(6), TARGETS] - 0.1 / 4 * log_p.sum(1)
    assert torch.allclose(loss(label_smoothing=0.1)(LOGITS, TARGETS), expected)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_class_loss_one_hot_targets_give_the_same_loss(name, smoothing, weights):
    loss_function = loss(name=name, label_smoothing=smoothing, class_weights=weights)
    assert torch.allclose(loss_function(LOGITS, TARGETS), loss_function(LOGITS, F.one_hot(TARGETS, 4).float()))


def test_focal_is_its_formula_and_cross_entropy_at_gamma_zero():
    p = LOGITS.softmax(1)[range(6), TARGETS]
    assert torch.allclose(focal(LOGITS, TARGETS, 2.0), -((1 - p) ** 2) * p.log())
    assert torch.allclose(
        focal(LOGITS, TARGETS, 0.0, 0.1, WEIGHTS),
        F.cross_entropy(LOGITS, TARGETS, WEIGHTS, label_smoothing=0.1, reduction="none"),
    )


def test_focal_of_a_batch_without_the_last_class():
    targets = torch.tensor([0, 1, 2, 1, 0, 0])
    assert torch.allclose(focal(LOGITS, targets, 0.0), F.cross_entropy(LOGITS, targets, reduction="none"))


def test_class_loss_focal_uses_gamma_smoothing_and_weights():
    log_p = LOGITS.log_softmax(1)
    smoothed = 0.9 * F.one_hot(TARGETS, 4) + 0.1 / 4
    expected = -(WEIGHTS * smoothed * (1 - log_p.exp()) ** 1.5 * log_p).sum(1)
    focal_loss = loss(name="focal", label_smoothing=0.1, class_weights="balanced", focal_gamma=1.5)
    assert torch.allclose(focal_loss(LOGITS, TARGETS), expected)
    for name in ("cross_entropy", "focal"):  # every value counts, and the default of none is taken for it
        full = {"name": name, "label_smoothing": 0.1, "class_weights": "balanced"}
        for change in ({"label_smoothing": 0.0}, {"class_weights": "none"}):
            assert not torch.allclose(loss(**full)(LOGITS, TARGETS), loss(**{**full, **change})(LOGITS, TARGETS))


def test_balanced_weights_give_every_class_the_same_total():
    weights = balanced_weights(TARGETS, 5)
    totals = weights * torch.bincount(TARGETS, minlength=5)
    assert torch.allclose(totals[:4], torch.full((4,), 6 / 5)) and totals[4] == 0
    assert torch.allclose(balanced_weights(torch.arange(4).repeat(3), 4), torch.ones(4))


def test_class_loss_class_weights_scale_each_image():
    assert torch.allclose(loss(class_weights="balanced")(LOGITS, TARGETS), WEIGHTS[TARGETS] * loss()(LOGITS, TARGETS))


def test_binary_loss_is_the_mean_over_the_questions_of_smoothed_targets():
    targets = (LOGITS > 0.3).float()
    p, smoothed = LOGITS.sigmoid(), 0.9 * targets + 0.05
    terms = -(smoothed * p.log() + (1 - smoothed) * (1 - p).log())
    assert torch.allclose(binary_loss(Loss(label_smoothing=0.1))(LOGITS, targets), terms.mean(1))
    focal_loss = binary_loss(Loss(name="focal", label_smoothing=0.1, focal_gamma=1.5))
    assert torch.allclose(focal_loss(LOGITS, targets), (terms * (p - smoothed).abs() ** 1.5).mean(1))


@pytest.mark.parametrize(("name", "expected"), [("mae", [0.5, 3.0]), ("mse", [0.25, 9.0]), ("smooth_l1", [0.125, 2.5])])
def test_number_loss_is_its_formula(name, expected):
    outputs, targets = torch.tensor([[1.5], [-1.0]]), torch.tensor([[1.0], [2.0]])
    assert number_loss(Loss(name=name))(outputs, targets).tolist() == expected
