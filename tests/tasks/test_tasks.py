"""Each kind of target: labels to targets, outputs to predictions, losses, decisions and answers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from comp.errors import UserError
from comp.metrics import METRICS, score
from comp.records.task import TaskSpec
from comp.schema import Loss
from comp.tasks import TASKS, make_task

CPU = torch.device("cpu")
LABELS = {
    "single": ["b", "a", "c", "a"],
    "binary": ["1", "0", "0", "1"],
    "multilabel": ["a b", "c", "", "a"],
    "ordinal": ["0", "2", "1", "10"],
    "regression": ["1.5", "-2", "3e1", "7"],
}


def task_of(kind: str):
    return TASKS[kind].from_labels(LABELS[kind], name="target")


@pytest.mark.parametrize("kind", TASKS)
def test_task_survives_its_record(kind):
    task = task_of(kind)
    assert make_task(TaskSpec.from_dict(task.spec.to_dict(), "x.json")) == task


@pytest.mark.parametrize("kind", TASKS)
def test_default_metric_and_loss_fit_the_form(kind):
    task = task_of(kind)
    assert task.form in METRICS[task.default_metric].computations
    Loss(name=task.loss_names[0])


@pytest.mark.parametrize("kind", TASKS)
def test_perfect_outputs_become_valid_predictions_with_the_best_score(kind):
    """Outputs that are far on the right side of every question."""
    task = task_of(kind)
    targets = task.encode(LABELS[kind])
    wanted = torch.from_numpy(np.asarray(task.network_targets(targets)))
    if kind in ("single", "binary"):
        outputs = 50.0 * torch.nn.functional.one_hot(wanted, task.outputs) - 25
    else:
        outputs = wanted.clone() if kind == "regression" else 50 * wanted - 25
    predictions = task.activate(outputs.float()).numpy()
    assert predictions.shape == (4, len(task.columns)) and task.find_invalid(predictions) == ""
    best = 1.0 if METRICS[task.default_metric].higher_is_better else 0.0
    assert score(task.default_metric, targets, predictions) == pytest.approx(best, abs=1e-5)
    assert task.losses(targets, predictions) == pytest.approx(np.zeros(4), abs=1e-5)
    assert task.errors(targets, predictions) == pytest.approx(np.zeros(4), abs=1e-4)


@pytest.mark.parametrize("kind", TASKS)
def test_loss_falls_along_its_gradient_and_is_per_image(kind):
    task = task_of(kind)
    targets = task.network_targets(task.encode(LABELS[kind]))
    loss = task.make_loss(Loss(name=task.loss_names[0]), task.encode(LABELS[kind]), CPU)
    outputs = torch.zeros(4, task.outputs, requires_grad=True)
    values = loss(outputs, torch.from_numpy(np.asarray(targets)))
    assert values.shape == (4,)
    values.mean().backward()
    assert outputs.grad is not None
    lower = loss(outputs - 0.5 * outputs.grad, torch.from_numpy(np.asarray(targets)))
    assert lower.mean() < values.mean()


@pytest.mark.parametrize("kind", TASKS)
def test_baseline_is_the_best_constant(kind):
    task = task_of(kind)
    targets = task.encode(LABELS[kind])
    baseline = task.baseline(targets)
    loss = task.losses(targets, np.tile(baseline, (4, 1))).mean()
    for column in range(len(task.columns)):
        for step in (-0.01, 0.01):
            other = baseline.copy()
            other[column] += step
            if kind not in ("multilabel", "regression"):
                other /= other.sum()
            assert task.losses(targets, np.tile(other, (4, 1))).mean() >= loss - 1e-12


def test_baseline_of_classes_has_each_class_also_one_that_never_occurs():
    task = make_task(TaskSpec("single", ("a", "b", "c", "d")))
    assert task.baseline(task.encode(["b", "a", "b", "b"])).tolist() == [0.25, 0.75, 0, 0]
    assert task.counts(task.encode(["b", "a", "b", "b"])) == {"a": 1, "b": 3, "c": 0, "d": 0}


def test_decisions_are_for_scores_of_labels():
    assert task_of("ordinal").needs_decision("quadratic_kappa") and task_of("binary").needs_decision("macro_f1")
    assert not task_of("binary").needs_decision("auc") and not task_of("ordinal").needs_decision("rmse")


def test_only_targets_that_are_class_indices_can_be_weighted():
    assert [kind for kind in TASKS if task_of(kind).has_class_targets] == ["single", "binary"]


def test_columns_have_a_natural_order():
    assert TASKS["single"].from_labels(["b", "10", "2", "a", "-1"]).columns == ("-1", "2", "10", "a", "b")
    assert TASKS["ordinal"].from_labels(["10", "2", "1"]).columns == ("1", "2", "10")


def test_multilabel_tags_are_separated_as_in_training():
    task = TASKS["multilabel"].from_labels(["a b,c", "c"], separator=",")
    assert task.columns == ("a b", "c") and task.encode(["c,a b", ""]).tolist() == [[1, 1], [0, 0]]


def test_regression_targets_of_the_network_are_standardised():
    task = task_of("regression")
    targets = task.network_targets(task.encode(LABELS["regression"]))
    assert targets.mean() == pytest.approx(0, abs=1e-6) and targets.std() == pytest.approx(1, abs=1e-6)


def test_ordinal_needs_three_grades():
    assert TASKS["ordinal"].from_labels(["0", "1", "2"]).columns == ("0", "1", "2")
    with pytest.raises(UserError):
        TASKS["ordinal"].from_labels(["0", "1", "1"])


def test_multilabel_probabilities_may_be_0_and_1():
    task = task_of("multilabel")
    assert not task.find_invalid(np.array([[0.0, 1.0, 0.5]]))
    for value in (-0.01, 1.01, np.nan):
        assert task.find_invalid(np.array([[0.0, value, 0.5]]))


def test_counts_name_classes_without_images_too():
    assert task_of("single").counts(np.array([0, 0])) == {"a": 2, "b": 0, "c": 0}


def test_ordinal_reaches_a_grade_no_more_often_than_the_one_below():
    task = task_of("ordinal")
    predictions = task.activate(torch.tensor([[-2.0, 3.0, 1.0]])).numpy()
    assert predictions.min() >= 0 and predictions.sum() == pytest.approx(1)
    assert task.columns == ("0", "1", "2", "10")  # by value, not as text


def test_ordinal_decision_finds_cut_points_that_rounding_misses():
    """Grades predicted half a grade too low: the cut points move down by half a grade."""
    task = make_task(TaskSpec("ordinal", ("0", "1", "2", "3")))
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 400)
    expected = np.clip(targets - 0.5 + rng.normal(0, 0.15, 400), 0, 3)
    low = np.floor(expected).astype(int).clip(0, 2)
    predictions = np.zeros((400, 4))
    predictions[np.arange(400), low] = 1 - (expected - low)
    predictions[np.arange(400), low + 1] = expected - low
    decision = task.fit_decision(targets, predictions, "quadratic_kappa")
    decided = task.decide(predictions, decision)
    assert decision == pytest.approx([0.25, 1, 2], abs=0.3)  # the grades are seen at 0, 0.5, 1.5 and 2.5
    assert score("quadratic_kappa", targets, decided) > score("quadratic_kappa", targets, predictions) + 0.02
    assert task.fit_decision(targets, predictions, "log_loss") == ()


def test_ordinal_cut_points_stay_in_order():
    """Cut points in any order may score best on noise; each grade keeps its place and some room."""
    task = make_task(TaskSpec("ordinal", ("0", "1", "2", "3")))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        decision = task.fit_decision(rng.integers(0, 4, 30), rng.dirichlet(np.ones(4), 30), "quadratic_kappa")
        assert all(low < high for low, high in itertools.pairwise(decision))


def test_multilabel_threshold_is_where_f1_is_best_and_moves_to_one_half():
    task = make_task(TaskSpec("multilabel", ("a", "b")))
    targets = np.array([[1, 0], [1, 1], [0, 0], [0, 1]] * 10)
    predictions = np.where(targets == 1, 0.3, 0.1) + np.random.default_rng(0).uniform(-0.05, 0.05, (40, 2))
    decision = task.fit_decision(targets, predictions, "micro_f1")
    assert 0.15 < decision[0] < 0.25
    decided = task.decide(predictions, decision)
    assert score("micro_f1", targets, decided) == 1 and ((decided >= 0) & (decided <= 1)).all()
    assert (np.argsort(decided[:, 0]) == np.argsort(predictions[:, 0])).all()  # the order stays


def test_multilabel_image_without_a_tag_gets_the_best_where_training_always_has_one():
    predictions = np.array([[0.1, 0.2], [0.9, 0.3]])
    for at_least_one, expected in ((True, [[False, True], [True, False]]), (False, [[False, False], [True, False]])):
        task = make_task(TaskSpec("multilabel", ("a", "b"), at_least_one=at_least_one))
        decided = task.decide(predictions, (0.5,))
        assert (decided >= 0.5).tolist() == expected and not task.find_invalid(decided)


def test_binary_decision_for_f1_of_rare_positives():
    task = make_task(TaskSpec("binary", ("no", "yes")))
    targets = np.array([1] * 5 + [0] * 45)
    yes = np.concatenate([np.full(5, 0.3), np.linspace(0.01, 0.2, 45)])
    predictions = np.stack([1 - yes, yes], 1)
    decided = task.decide(predictions, task.fit_decision(targets, predictions, "macro_f1"))
    assert score("macro_f1", targets, predictions) < 0.6 and score("macro_f1", targets, decided) == 1


def test_regression_predictions_stay_in_the_range_of_training():
    task = task_of("regression")
    predictions = task.activate(torch.tensor([[-99.0], [99.0]])).numpy()
    assert predictions[:, 0].tolist() == [-2, 30]


def test_regression_strata_are_quantiles():
    task = task_of("regression")
    strata = task.strata([repr(float(value)) for value in np.random.default_rng(0).exponential(size=1000)])
    assert np.bincount(strata).tolist() == [100] * 10


@pytest.mark.parametrize("kind", ["single", "multilabel", "regression"])
def test_blend_objective_is_the_loss_of_the_mean_with_its_gradient(kind):
    task = task_of(kind)
    targets = task.encode(LABELS[kind])
    rng = np.random.default_rng(0)
    members = rng.uniform(0.05, 0.95, (3, 4, len(task.columns)))
    if kind == "single":
        members /= members.sum(-1, keepdims=True)
    objective, weights = task.blend_objective(members, targets), np.array([0.2, 0.5, 0.3])
    value, gradient = objective(weights)
    scale = targets.var() if kind == "regression" else 1
    assert value == pytest.approx(task.losses(targets, np.tensordot(weights, members, 1)).mean() / scale)
    for index in range(3):
        step = np.eye(3)[index] * 1e-6
        assert gradient[index] == pytest.approx((objective(weights + step)[0] - value) / 1e-6, rel=1e-3, abs=1e-5)


def test_multilabel_exclusive_form_goes_there_and_back():
    task = task_of("multilabel")
    predictions = np.random.default_rng(0).random((2, 4, 3))
    exclusive = task.to_exclusive(predictions)
    assert exclusive is not None and exclusive.shape == (2, 12, 2)
    assert task.from_exclusive(exclusive) == pytest.approx(predictions)
    assert task.exclusive_targets(task.encode(LABELS["multilabel"])).tolist() == [1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        ("binary", ["a", "b", "c"], "needs two values"),
        ("ordinal", ["a", "b", "c"], "needs numbers"),
        ("ordinal", ["0", "1"], "needs three grades"),
        ("regression", ["1", "x"], "not a number"),
        ("regression", ["1", "nan"], "not a finite number"),
        ("regression", ["2", "2"], "nothing to predict"),
        ("multilabel", ["", ""], "no image has a tag"),
        ("single", ["a", ""], "empty label"),
    ],
)
def test_labels_that_do_not_fit_are_one_error(kind, labels, message):
    with pytest.raises(UserError, match=message):
        TASKS[kind].from_labels(labels, name="target")


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("single", [[0.5, 0.2, 0.2]]),
        ("single", [[1.5, -0.5, 0]]),
        ("multilabel", [[0.5, 1.2, 0]]),
        ("multilabel", [[0.5, np.nan, 0]]),
        ("regression", [[np.inf]]),
    ],
)
def test_find_invalid_names_what_is_wrong(kind, bad):
    assert task_of(kind).find_invalid(np.array(bad))
