"""Predictions as soft targets: certain ones equal the targets of labels, in every kind of task."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from comp.tasks.multilabel import Multilabel
from comp.tasks.ordinal import Ordinal
from comp.tasks.regression import Regression


@pytest.mark.parametrize(
    ("task", "labels", "predictions"),
    [
        (Ordinal.from_labels(["0", "1", "2", "3"]), ["0", "2", "3"], np.eye(4)[[0, 2, 3]]),
        (Multilabel.from_labels(["a", "b", "a b"]), ["a", "a b"], np.array([[1.0, 0.0], [1.0, 1.0]])),
        (Regression.from_labels(["1", "5", "9"]), ["5", "9"], np.array([[5.0], [9.0]])),
    ],
)
def test_soft_targets_of_certain_predictions_are_those_of_the_labels(task, labels, predictions):
    targets = task.soft_targets(predictions)
    assert targets.dtype == np.float32
    assert np.allclose(targets, task.network_targets(task.encode(labels)), atol=1e-6)


def test_soft_targets_of_grades_are_what_outputs_with_these_predictions_reach():
    task, outputs = Ordinal.from_labels(["0", "1", "2", "3"]), torch.tensor([[2.0, 0.5, -1.0], [-0.5, -2.0, -4.0]])
    assert np.allclose(task.soft_targets(task.activate(outputs).numpy()), outputs.sigmoid().numpy(), atol=1e-6)
