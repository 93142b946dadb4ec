"""Scores are scikit-learn's; intervals are deterministic, shrink as they should and cover what they promise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk

from comp.metrics import METRICS, PER_CLASS, confusion, score
from comp.stats import bootstrap_interval, score_report, wilson_interval

CLASSES = 4
# of two lists of class numbers; the classes counted are those in truth or prediction, as in the kit
THEIRS = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    **{
        f"{average}_{name}": lambda truth, called, function=function, average=average: function(
            truth, called, average=average, zero_division=0
        )
        for average in ("macro", "weighted")
        for name, function in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score))
    },
}


def predict(images: int, truth_from=range(CLASSES), never_called=(), skill: float = 1.0, seed: int = 0):
    """Random truth and probabilities that lean towards it."""
    draw = np.random.default_rng(seed)
    truth = draw.choice(list(truth_from), images)
    logits = draw.normal(size=(images, CLASSES))
    logits[np.arange(images), truth] += skill
    logits[:, list(never_called)] = -9
    odds = np.exp(logits)
    return truth, (odds / odds.sum(1, keepdims=True)).astype(np.float32)


CASES = {
    "every class": predict(300),
    "a class that never occurs": predict(300, truth_from=(0, 1, 3)),
    "a class that is never called": predict(300, never_called=(2,)),
    "a class that is neither": predict(300, truth_from=(0, 1, 3), never_called=(2,)),
    "few images": predict(7, seed=3),
    "one image": predict(1),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("metric", [name for name in METRICS if name in THEIRS])
def test_every_score_is_scikit_learns(metric, case):
    truth, probabilities = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that never occur
        theirs = THEIRS[metric](truth, probabilities.argmax(1))
    assert score(metric, truth, probabilities) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_log_loss_is_scikit_learns_also_for_certain_errors(case):
    truth, probabilities = CASES[case]
    certain = np.eye(CLASSES, dtype=np.float32)[(truth + 1) % CLASSES]
    for values in (probabilities, certain):
        assert score("log_loss", truth, values) == pytest.approx(
            sk.log_loss(truth, values, labels=range(CLASSES)), rel=1e-5
        )


def test_no_score_goes_untested():
    assert set(METRICS) == {*THEIRS, "log_loss", "macro_specificity"}


def test_specificity_by_hand():
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    called = np.array([0, 0, 0, 1, 1, 1, 0, 2, 2, 0])
    # not of the class and not called so: 4 of 6, 6 of 7, 7 of 7
    by_hand = [4 / 6, 6 / 7, 7 / 7]
    assert PER_CLASS["specificity"](confusion(truth, np.eye(3)[called])) == pytest.approx(by_hand)
    assert score("macro_specificity", truth, np.eye(3)[called]) == pytest.approx(np.mean(by_hand))


def test_macro_is_the_mean_over_classes_that_occur_in_truth_or_prediction():
    truth, called = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2])
    recalls_by_hand = [1, 1 / 2, 0]  # class 2 is called and never true: it counts, as 0; class 3 does not count
    assert score("macro_recall", truth, np.eye(4)[called]) == pytest.approx(np.mean(recalls_by_hand))
    assert score("balanced_accuracy", truth, np.eye(4)[called]) == pytest.approx(np.mean(recalls_by_hand[:2]))


def test_truth_in_the_rows_prediction_in_the_columns():
    assert confusion(np.array([0, 0, 1]), np.eye(2)[[1, 1, 1]]).tolist() == [[0, 2], [0, 1]]


@pytest.mark.parametrize("metric", METRICS)
def test_better_predictions_score_better_in_the_direction_the_metric_names(metric):
    worse, better = (score(metric, *predict(500, skill=skill)) for skill in (0.5, 3.0))
    assert (better > worse) is METRICS[metric].higher_is_better


@pytest.mark.parametrize("metric", METRICS)
def test_score_perfect_predictions_is_the_best(metric):
    targets = np.arange(40) % CLASSES
    best = 1.0 if METRICS[metric].higher_is_better else 0.0
    assert score(metric, targets, np.eye(CLASSES, dtype=np.float32)[targets]) == best


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("images", [1, 7, 400])
def test_bootstrap_interval_every_image_correct_or_none_still_has_a_width(metric, images):
    """Resamples of perfect predictions are perfect too, yet they do not prove that no image of 400 is wrong."""
    targets = np.random.default_rng(0).choice(CLASSES, images, p=[0.7, 0.2, 0.09, 0.01])
    for correct in (True, False):
        probabilities = np.eye(CLASSES, dtype=np.float32)[targets if correct else (targets + 1) % CLASSES]
        value, (low, high) = score(metric, targets, probabilities), bootstrap_interval(metric, targets, probabilities)
        if metric == "log_loss":  # of probabilities of 0 and 1 it is no count of images
            assert low == high == pytest.approx(value)
        else:
            assert 0 <= low <= value <= high <= 1
            assert low < high or len(np.unique(targets)) == 1  # of one class, nothing lowers a weighted precision


@pytest.mark.parametrize("images", [1, 40, 3200])
def test_bootstrap_interval_every_image_correct_is_wilsons(images):
    targets = np.arange(images) % CLASSES
    for correct in (True, False):
        probabilities = np.eye(CLASSES, dtype=np.float32)[targets if correct else (targets + 1) % CLASSES]
        wilson = binomtest(images * correct, images).proportion_ci(method="wilson")
        interval = bootstrap_interval("accuracy", targets, probabilities)
        assert interval == pytest.approx((wilson.low, wilson.high))
        if images > 1:  # of classes of one size a mean over classes is the accuracy
            assert bootstrap_interval("macro_recall", targets, probabilities) == pytest.approx(interval)
    low, high = wilson_interval(1.0, 3200)
    assert high == 1 and 1 - low == pytest.approx(3.84 / 3200, rel=0.01)  # of a rule of three: 3 / 3200


def test_bootstrap_interval_perfect_macro_score_is_wider_with_a_rare_class():
    even, uneven = np.arange(400) % CLASSES, np.repeat(np.arange(CLASSES), [196, 100, 100, 4])
    (low, _), (lower, _) = (
        bootstrap_interval("macro_recall", targets, np.eye(CLASSES, dtype=np.float32)[targets])
        for targets in (even, uneven)
    )
    assert lower < 0.8 < 0.99 < low


@pytest.mark.parametrize(
    ("metric", "interval"),
    [
        ("accuracy", (0.515, 0.65)),
        ("macro_f1", (0.5119775349017078, 0.6455687036728703)),
        ("log_loss", (0.9416848203265864, 1.1437022635250256)),
    ],
)
def test_bootstrap_interval_keeps_the_numbers_of_past_records(metric, interval):
    assert bootstrap_interval(metric, *predict(200)) == pytest.approx(interval, rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_an_interval_holds_its_score_and_says_the_same_twice(metric):
    truth, probabilities = predict(200)
    low, high = bootstrap_interval(metric, truth, probabilities)
    assert low < score(metric, truth, probabilities) < high
    assert bootstrap_interval(metric, truth, probabilities) == (low, high)


def test_the_interval_of_an_accuracy_is_the_textbooks():
    truth, probabilities = predict(3000)
    accuracy = score("accuracy", truth, probabilities)
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / 3000)
    low, high = bootstrap_interval("accuracy", truth, probabilities)
    assert (low, high) == pytest.approx((accuracy - half, accuracy + half), abs=half / 12)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
def test_an_interval_shrinks_with_the_root_of_the_images(metric):
    few, many = (np.ptp(bootstrap_interval(metric, *predict(images))) for images in (400, 6400))
    assert few / many == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
def test_a_95_percent_interval_covers_the_truth_about_95_times_in_100(metric, monkeypatch):
    monkeypatch.setattr("comp.stats.RESAMPLES", 400)
    world = score(metric, *predict(400_000, seed=10_000))
    covered = 0
    for seed in range(200):
        low, high = bootstrap_interval(metric, *predict(150, seed=seed))
        covered += low <= world <= high
    assert 180 <= covered <= 198


def test_a_report_is_plain_numbers_that_agree_with_each_other():
    truth, probabilities = predict(120)
    told = score_report(truth, probabilities, tuple("abcd")).to_dict()
    assert told["images"] == np.sum(told["confusion"]) == 120
    assert told["accuracy"] == np.trace(told["confusion"]) / 120
    assert told["macro_recall"] == pytest.approx(np.mean([told["per_class"][label]["recall"] for label in "abcd"]))
    low, high = told["interval"]["macro_f1"]
    assert low < told["macro_f1"] < high
