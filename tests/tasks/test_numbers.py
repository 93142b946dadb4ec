"""Grades and numbers: their strata, their range, and what a blend of them is measured by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from comp.errors import UserError
from comp.records.task import TaskSpec
from comp.tasks import TASKS, make_task

GRADES = make_task(TaskSpec("ordinal", ("0", "1", "2", "3")))


def test_regression_strata_of_few_different_numbers_are_these_numbers():
    labels = ["0", "10", "10", "0", "5"] * 4
    strata = make_task(TaskSpec("regression", ("y",))).strata(labels)
    assert dict(zip(labels, strata, strict=True)).keys() == {"0", "5", "10"} and len(set(strata)) == 3
    assert len(set(zip(labels, strata, strict=True))) == 3


def test_regression_spec_has_the_range_of_training():
    spec = TASKS["regression"].from_labels(["1", "3", "8"], name="age").spec
    assert (spec.columns, spec.low, spec.high, spec.mean) == (("age",), 1, 8, 4)
    assert spec.std == pytest.approx(np.std([1, 3, 8]))


def test_regression_blend_objective_of_equal_targets_is_finite():
    task = make_task(TaskSpec("regression", ("y",)))
    members = np.array([[2.0, 2.0], [4.0, 4.0]])[:, :, None]
    value, gradient = task.blend_objective(members, np.array([3.0, 3.0]))(np.array([1.0, 0.0]))
    assert value == 1 and gradient.tolist() == [-4, -8]


def test_regression_has_no_classes_to_calibrate_or_to_count():
    task = make_task(TaskSpec("regression", ("y",)))
    assert task.to_exclusive(np.zeros((2, 1))) is None and task.counts(np.array([1.0])) == {}
    assert not task.has_confusion and not task.needs_decision("rmse")
    assert task.losses(np.array([1.0]), np.array([[3.0]])).tolist() == [4]
    assert task.errors(np.array([1.0]), np.array([[3.0]])).tolist() == [2]


def test_ordinal_network_has_a_question_less_than_grades():
    assert GRADES.outputs == 3
    assert GRADES.network_targets(np.array([0, 1, 3])).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 1]]
    predicted = GRADES.activate(torch.logit(torch.tensor([[0.9, 0.6, 0.1]])))
    assert predicted.numpy()[0] == pytest.approx([0.1, 0.3, 0.5, 0.1], abs=1e-6)


def test_ordinal_decision_cuts_the_expected_grade_and_a_grade_on_a_cut_is_the_upper_one():
    predictions = np.array([[0.75, 0.25, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 1.0]])
    decided = GRADES.decide(predictions, (0.5, 1.5, 2.5))
    assert decided.argmax(1).tolist() == [0, 1, 3, 3] and decided.sum(1).tolist() == [1] * 4
    assert GRADES.decide(predictions, ()) is predictions


def test_encode_unknown_class_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"the label 'dogs' is not a class; did you mean dog\?"):
        make_task(TaskSpec("single", ("cat", "dog"))).encode(["cat", "dogs"])
    with pytest.raises(UserError, match="2 images have an empty label"):
        TASKS["single"].from_labels(["cat", "", ""])
