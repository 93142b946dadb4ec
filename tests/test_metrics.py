"""Scores equal scikit-learn's, also for classes that never occur or are never predicted."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from comp.metrics import CLASS_REPORT, METRICS, PER_CLASS, ClassCounts, confusion, log_losses, score
from comp.metrics.class_counts import CLASS_SCORES, count_classes

CLASSES = 4
# of two lists of class indices; the classes counted are those in targets or predictions, as in the kit
SCIKIT_LEARN = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    **{
        f"{average}_{name}": lambda targets, predicted, function=function, average=average: function(
            targets, predicted, average=average, zero_division=0
        )
        for average in ("macro", "weighted")
        for name, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score))
    },
}


def make_predictions(
    images: int, classes=range(CLASSES), never_predicted=(), skill: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return random targets and probabilities that lean towards them."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(list(classes), images)
    logits = rng.normal(size=(images, CLASSES))
    logits[np.arange(images), targets] += skill
    logits[:, list(never_predicted)] = -9
    raised = np.exp(logits)
    return targets, (raised / raised.sum(1, keepdims=True)).astype(np.float32)


CASES = {
    "every class": make_predictions(300),
    "a class that never occurs": make_predictions(300, classes=(0, 1, 3)),
    "a class that is never predicted": make_predictions(300, never_predicted=(2,)),
    "a class that is neither": make_predictions(300, classes=(0, 1, 3), never_predicted=(2,)),
    "few images": make_predictions(7, seed=3),
    "one image": make_predictions(1),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("metric", [name for name in METRICS if name in SCIKIT_LEARN])
def test_score_equals_scikit_learns(metric, case):
    targets, probabilities = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that never occur
        expected = SCIKIT_LEARN[metric](targets, probabilities.argmax(1))
    assert score(metric, targets, probabilities) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_score_log_loss_equals_scikit_learns_also_for_certain_errors(case):
    targets, probabilities = CASES[case]
    certain_errors = np.eye(CLASSES, dtype=np.float32)[(targets + 1) % CLASSES]
    for values in (probabilities, certain_errors):
        assert score("log_loss", targets, values) == pytest.approx(
            sk.log_loss(targets, values, labels=range(CLASSES)), rel=1e-5
        )


def test_class_report_is_tested():
    assert set(CLASS_REPORT) == {*SCIKIT_LEARN, "log_loss", "macro_specificity"}


def test_score_macro_specificity_by_hand():
    targets = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    predicted = np.array([0, 0, 0, 1, 1, 1, 0, 2, 2, 0])
    # not of the class and not predicted as it: 4 of 6, 6 of 7, 7 of 7
    by_hand = [4 / 6, 6 / 7, 7 / 7]
    assert PER_CLASS["specificity"](count_classes(targets, predicted, 3)) == pytest.approx(by_hand)
    assert score("macro_specificity", targets, np.eye(3)[predicted]) == pytest.approx(np.mean(by_hand))


def test_score_macro_is_the_mean_over_classes_that_are_true_or_predicted():
    targets, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2])
    recalls_by_hand = [1, 1 / 2, 0]  # class 2 is predicted and never true: it counts, as 0; class 3 does not count
    assert score("macro_recall", targets, np.eye(4)[predicted]) == pytest.approx(np.mean(recalls_by_hand))
    assert score("balanced_accuracy", targets, np.eye(4)[predicted]) == pytest.approx(np.mean(recalls_by_hand[:2]))


def test_confusion_has_a_row_per_true_class():
    assert confusion(np.array([0, 0, 1]), np.eye(2)[[1, 1, 1]]).tolist() == [[0, 2], [0, 1]]
    assert confusion(np.array([0, 0, 1]), np.eye(3)[[1, 1, 1]]).tolist() == [[0, 2, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("metric", CLASS_REPORT)
def test_score_better_predictions_score_better_in_the_metrics_direction(metric):
    worse, better = (score(metric, *make_predictions(500, skill=skill)) for skill in (0.5, 3.0))
    assert (better > worse) is METRICS[metric].higher_is_better
    assert METRICS[metric].sign == (1 if better > worse else -1)


@pytest.mark.parametrize("metric", CLASS_REPORT)
def test_score_perfect_predictions_is_the_best(metric):
    targets = np.arange(40) % CLASSES
    best = 1.0 if METRICS[metric].higher_is_better else 0.0
    assert score(metric, targets, np.eye(CLASSES, dtype=np.float32)[targets]) == best


@pytest.mark.parametrize("metric", CLASS_SCORES)
def test_metric_of_stacked_counts_is_that_of_each_alone(metric):
    """Five tables of four classes, so that an axis that is mistaken for another has another length."""
    tables = [*list(CASES.values())[:4], make_predictions(90, seed=8)]
    counts = [ClassCounts.from_confusion(confusion(*table)) for table in tables]
    stacked = ClassCounts(
        *(np.stack([getattr(one, name) for one in counts]) for name in ("true", "predicted", "correct"))
    )
    from_counts, expected = CLASS_SCORES[metric], [score(metric, *table) for table in tables]
    assert from_counts(stacked).tolist() == expected
    matrices = np.stack([confusion(*table) for table in tables])
    assert from_counts(ClassCounts.from_confusion(matrices)).tolist() == expected


@pytest.mark.parametrize("name", PER_CLASS)
def test_per_class_score_of_a_class_without_images_is_zero(name):
    counts = count_classes(np.array([0, 0, 0]), np.array([0, 0, 0]), 2)
    assert PER_CLASS[name](counts).tolist() == ([0, 1] if name == "specificity" else [1, 0])


def test_balanced_accuracy_counts_a_class_with_one_image():
    targets, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])
    assert score("balanced_accuracy", targets, np.eye(2)[predicted]) == 0.5


def test_count_classes_is_the_margins_and_the_diagonal_of_the_confusion_matrix():
    targets, probabilities = CASES["a class that is never predicted"]
    cm = confusion(targets, probabilities)
    counts = count_classes(targets, probabilities.argmax(1), CLASSES)
    assert counts.true.tolist() == cm.sum(1).tolist()
    assert counts.predicted.tolist() == cm.sum(0).tolist()
    assert counts.correct.tolist() == np.diagonal(cm).tolist()


def test_log_losses_of_rows_that_do_not_sum_to_one_are_those_of_their_shares():
    targets, probabilities = CASES["every class"]
    losses = log_losses(targets, probabilities)
    assert log_losses(targets, probabilities * np.float32(3)) == pytest.approx(losses, rel=1e-5)
    assert losses.mean() == pytest.approx(score("log_loss", targets, probabilities))
