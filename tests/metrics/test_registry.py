"""Scores of rankings, tags and numbers equal scikit-learn's and scipy's, also on resamples; a user's own metric."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk

from comp.errors import UserError
from comp.metrics import METRICS, find_metric, form_of, score
from comp.stats import bootstrap_interval, compare_predictions

RNG = np.random.default_rng(0)
YES = RNG.integers(0, 2, 300)
TIED = np.round(RNG.random(300) * 0.6 + YES * 0.4, 2)  # many equal values
BINARY = np.stack([1 - TIED, TIED], 1)
CLASSES = RNG.integers(0, 5, 300)
PROBABILITIES = RNG.dirichlet(np.ones(5), 300) * 0.6 + 0.4 * np.eye(5)[CLASSES]
TAGS = RNG.integers(0, 2, (300, 4))
TAG_PROBABILITIES = RNG.random((300, 4)) * 0.6 + TAGS * 0.3
NUMBERS = RNG.normal(size=300)
PREDICTED = (NUMBERS + RNG.normal(size=300))[:, None]

CASES = {
    "auc": (YES, BINARY, lambda t, p: sk.roc_auc_score(t, p[:, 1])),
    "partial_auc": (YES, BINARY, lambda t, p: sk.roc_auc_score(t, p[:, 1], max_fpr=0.1)),
    "average_precision": (YES, BINARY, lambda t, p: sk.average_precision_score(t, p[:, 1])),
    "auc of classes": (CLASSES, PROBABILITIES, lambda t, p: sk.roc_auc_score(t, p, multi_class="ovr")),
    "auc of tags": (TAGS, TAG_PROBABILITIES, sk.roc_auc_score),
    "average_precision of tags": (TAGS, TAG_PROBABILITIES, sk.average_precision_score),
    "micro_f1 of tags": (TAGS, TAG_PROBABILITIES, lambda t, p: sk.f1_score(t, p >= 0.5, average="micro")),
    "macro_f1 of tags": (TAGS, TAG_PROBABILITIES, lambda t, p: sk.f1_score(t, p >= 0.5, average="macro")),
    "accuracy of tags": (TAGS, TAG_PROBABILITIES, lambda t, p: sk.accuracy_score(t, p >= 0.5)),
    "log_loss of tags": (
        TAGS,
        TAG_PROBABILITIES,
        lambda t, p: np.mean([sk.log_loss(t[:, i], p[:, i]) for i in range(4)]),
    ),
    "micro_f1": (CLASSES, PROBABILITIES, lambda t, p: sk.f1_score(t, p.argmax(1), average="micro")),
    "mcc": (CLASSES, PROBABILITIES, lambda t, p: sk.matthews_corrcoef(t, p.argmax(1))),
    "quadratic_kappa": (CLASSES, PROBABILITIES, lambda t, p: sk.cohen_kappa_score(t, p.argmax(1), weights="quadratic")),
    "top@3": (CLASSES, PROBABILITIES, lambda t, p: sk.top_k_accuracy_score(t, p, k=3)),
    "rmse": (NUMBERS, PREDICTED, lambda t, p: sk.root_mean_squared_error(t, p[:, 0])),
    "mae": (NUMBERS, PREDICTED, lambda t, p: sk.mean_absolute_error(t, p[:, 0])),
    "r2": (NUMBERS, PREDICTED, lambda t, p: sk.r2_score(t, p[:, 0])),
    "pearson": (NUMBERS, PREDICTED, lambda t, p: pearsonr(t, p[:, 0])[0]),
    "spearman": (NUMBERS, PREDICTED, lambda t, p: spearmanr(t, p[:, 0])[0]),
}


@pytest.mark.parametrize("case", CASES)
def test_score_equals_a_librarys(case):
    targets, predictions, expected = CASES[case]
    assert score(case.partition(" ")[0], targets, predictions) == pytest.approx(expected(targets, predictions))


@pytest.mark.parametrize(
    ("name", "targets", "worst", "expected"),
    [
        ("pearson", NUMBERS, -NUMBERS[:, None], -1),
        ("spearman", NUMBERS, -NUMBERS[:, None], -1),
        ("r2", NUMBERS, -NUMBERS[:, None], -3),
        ("rmse", np.zeros(3), np.full((3, 1), 5.0), 5),
        ("mae", np.zeros(3), np.full((3, 1), 5.0), 5),
        ("mcc", YES, np.eye(2)[1 - YES], -1),
        ("quadratic_kappa", np.arange(4) % 2, np.eye(2)[1 - np.arange(4) % 2], -1),
        ("log_loss", YES, np.eye(2)[1 - YES], -np.log(np.finfo(np.float32).eps)),
        ("accuracy", YES, np.eye(2)[1 - YES], 0),
        ("auc", YES, np.eye(2)[1 - YES], 0),
    ],
)
def test_score_range_holds_the_worst_score_and_the_best(name, targets, worst, expected):
    low, high = METRICS[name].score_range
    value = score(name, targets, worst)
    assert value == pytest.approx(expected, abs=0.02) and low - 1e-9 <= value <= high + 1e-9
    best = score(name, targets, targets[:, None] if worst.shape[1] == 1 else np.eye(2)[targets])
    assert low - 1e-6 <= best <= high + 1e-9
    assert METRICS[name].sign * best > METRICS[name].sign * value
    if METRICS[name].higher_is_better:
        assert best == pytest.approx(high)  # no score can be higher
        assert low == -np.inf or value == pytest.approx(low)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case != "spearman"]
)  # whose resamples keep the ranks of all
def test_scorer_of_a_resample_is_the_score_of_its_images(case):
    targets, predictions, _ = CASES[case]
    metric = find_metric(case.partition(" ")[0])
    rows = np.random.default_rng(1).integers(300, size=(3, 300))
    counts = np.stack([np.bincount(draw, minlength=300) for draw in rows], 1).astype(float)
    scores = metric.computation(targets).scorer(targets, predictions)(counts)
    assert scores == pytest.approx([metric.score(targets[draw], predictions[draw]) for draw in rows])


def test_map_at_5_by_hand():
    """The true class is in the first, the third and the last of six places."""
    probabilities = np.array([[9, 1, 1, 1, 1, 1], [5, 9, 4, 6, 1, 1], [9, 8, 7, 6, 5, 1]]) / 20
    targets = np.array([0, 0, 5])
    assert score("map@5", targets, probabilities) == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert score("top@3", targets, probabilities) == pytest.approx(2 / 3)


def test_map_at_5_of_equal_probabilities_takes_classes_in_their_order_as_the_answer_does():
    assert score("map@5", np.array([0, 1]), np.full((2, 2), 0.5)) == pytest.approx((1 + 1 / 2) / 2)


def test_probabilistic_f1_by_hand():
    targets, yes = np.array([1, 1, 0]), np.array([0.9, 0.5, 0.4])
    precision, recall = 1.4 / 1.8, 1.4 / 2
    expected = 2 * precision * recall / (precision + recall)
    assert score("probabilistic_f1", targets, np.stack([1 - yes, yes], 1)) == pytest.approx(expected)


def test_scores_of_tags_leave_out_tags_that_do_not_occur():
    targets = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]])
    given = np.array(
        [[1, 0, 0, 0], [0.5, 0, 0, 1], [0, 1, 0, 0.4]]
    )  # 0.5 is given; the fourth wrongly, the third never
    assert score("macro_f1", targets, given) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert score("micro_f1", targets, given) == pytest.approx(2 * 3 / (3 + 4))  # as in scikit-learn with known labels
    assert score("accuracy", targets, given) == pytest.approx(2 / 3)


def test_ranking_metrics_know_how_many_classes_an_answer_lists():
    assert [METRICS[name].places for name in ("map@5", "top@3", "top@10")] == [5, 3, 10]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["auc", "partial_auc", "weighted_auc", "average_precision"])
def test_ranking_without_a_positive_has_no_score_and_no_warning(name):
    assert np.isnan(score(name, np.zeros(4, int), BINARY[:4]))


def test_weighted_auc_is_the_area_below_the_weighted_curve():
    for values in (TIED, TIED.round(1)):  # with long pieces, of which one crosses 0.4
        fpr, tpr, _ = sk.roc_curve(YES, values, drop_intermediate=False)
        grid = np.linspace(0, 1, 400_001)
        curve = np.interp(grid, fpr, tpr)
        expected = np.trapezoid(curve + np.minimum(curve, 0.4), grid) / 1.4
        assert score("weighted_auc", YES, np.stack([1 - values, values], 1)) == pytest.approx(expected, abs=2e-5)


def test_weighted_auc_counts_true_positive_rates_up_to_0_4_twice():
    """A perfect ranking has 1; a random one has (0.5 + 0.4 - 0.08) / 1.4."""
    targets = np.repeat([0, 1], 50)
    perfect, equal = np.eye(2)[targets], np.full((100, 2), 0.5)
    assert score("weighted_auc", targets, perfect) == pytest.approx(1)
    assert score("weighted_auc", targets, equal) == pytest.approx((0.5 + 0.4 - 0.08) / 1.4)


@pytest.mark.parametrize("case", ["auc", "auc of tags", "micro_f1 of tags", "rmse", "quadratic_kappa", "map@5"])
def test_bootstrap_interval_holds_the_score_and_a_copy_does_not_differ(case):
    targets, predictions, _ = CASES.get(case) or (CLASSES, PROBABILITIES, None)
    metric = case.partition(" ")[0]
    low, high = bootstrap_interval(metric, targets, predictions)
    assert low < score(metric, targets, predictions) < high
    comparison = compare_predictions(metric, targets, predictions, predictions.copy())
    assert comparison.difference == 0 and comparison.inside_noise


def test_auc_of_a_column_without_positives_is_left_out_of_the_mean():
    targets = TAGS.copy()
    targets[:, 0] = 0
    expected = np.mean([sk.roc_auc_score(TAGS[:, i], TAG_PROBABILITIES[:, i]) for i in (1, 2, 3)])
    assert score("auc", targets, TAG_PROBABILITIES) == pytest.approx(expected)


def test_form_of_targets():
    assert [form_of(targets) for targets in (CLASSES, TAGS, NUMBERS)] == ["classes", "tags", "numbers"]


def test_find_metric_own_function_is_run_and_resampled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_metric.py").write_text(
        "def error(targets, predictions):\n    return abs(targets - predictions[:, 0]).mean()\n"
        "error.higher_is_better = False\nerror.answer = 'number'\n"
    )
    metric = find_metric("my_metric.py:error")
    assert metric.sign == -1 and metric.answer == "number"
    assert metric.score(NUMBERS, PREDICTED) == pytest.approx(score("mae", NUMBERS, PREDICTED))
    own, built_in = (bootstrap_interval(name, NUMBERS, PREDICTED) for name in ("my_metric.py:error", "mae"))
    assert own == pytest.approx(built_in, abs=0.02)  # of 200 resamples


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acuracy", "did you mean accuracy"),
        ("missing.py:f", "no file missing.py"),
        ("broken.py:f", "cannot be run"),
        ("fine.py:g", "cannot be run"),
        ("fine.py:number", "not a function"),
    ],
)
def test_find_metric_unknown_is_one_error(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "fine.py").write_text("number = 1")
    with pytest.raises(UserError, match=message):
        find_metric(name)


@pytest.mark.parametrize("body", ["return 1 / 0", "return 'x'", "return None"])
def test_own_metric_that_fails_is_one_error(body, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(f"def f(targets, predictions):\n    {body}\n")
    find_metric.cache_clear()
    with pytest.raises(UserError, match=r"f of own.py fails: .*returns a number"):
        find_metric("own.py:f").score(NUMBERS, PREDICTED)


def test_metrics_are_all_tested():
    tested = {case.partition(" ")[0] for case in CASES} | {"map@5", "probabilistic_f1", "weighted_auc"}
    from tests.test_metrics import SCIKIT_LEARN

    same_code = {"map@3", "map@10", "top@5", "top@10"}
    assert set(METRICS) == tested | set(SCIKIT_LEARN) | same_code | {"log_loss", "macro_specificity"}
