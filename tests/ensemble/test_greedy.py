"""Ensemble selection follows its rules, and its scores are those of the metric."""

from __future__ import annotations

import numpy as np
import pytest

from comp.ensemble import greedy
from comp.ensemble.greedy import fit_greedy_weights
from comp.metrics import CLASS_REPORT, METRICS, score
from comp.records.task import TaskSpec
from comp.tasks import make_task
from tests.ensemble.pools import TASK, make_probabilities, make_targets, sharpen, stack_members


@pytest.mark.parametrize("metric", CLASS_REPORT)
def test_fit_greedy_weights_begins_with_the_best_member_and_ends_better(metric):
    probabilities = np.stack([make_probabilities(seed, 1.0)[0] for seed in range(6)])
    targets, sign = make_targets(), METRICS[metric].sign
    best_alone = max(sign * score(metric, targets, member) for member in probabilities)
    first_round = fit_greedy_weights(TASK, probabilities, targets, metric, rounds=1)
    assert sign * score(metric, targets, np.tensordot(first_round, probabilities, 1)) == pytest.approx(
        best_alone, abs=1e-6
    )
    weights = fit_greedy_weights(TASK, probabilities, targets, metric)
    assert sign * score(metric, targets, np.tensordot(weights, probabilities, 1)) > best_alone


def test_fit_greedy_weights_tie_prefers_present_members_and_the_smallest_ensemble():
    correct = stack_members([[0.9, 0.1], [0.1, 0.9]])[0]
    probabilities = np.stack([correct, correct[:, ::-1], correct])
    assert fit_greedy_weights(TASK, probabilities, np.array([0, 1]), "accuracy").tolist() == [1, 0, 0]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
@pytest.mark.parametrize("seed", range(5))
def test_fit_greedy_weights_equals_a_search_member_by_member(seed, metric):
    """Many scores tie with 24 images; ties are broken by membership in the ensemble, then by the lower log loss."""
    probabilities = np.stack([make_probabilities(10 * seed + index, 0.7, images=24)[0] for index in range(6)])
    targets, sign, chosen, best = make_targets(24), METRICS[metric].sign, [], (-np.inf, None)

    def rank(member: int) -> tuple[float, bool, float]:
        mean = probabilities[[*chosen, member]].mean(0, dtype=np.float64)
        return round(sign * score(metric, targets, mean), 6), member in chosen, -score("log_loss", targets, mean)

    for _ in range(12):
        chosen.append(max(range(6), key=rank))
        value = sign * score(metric, targets, probabilities[chosen].mean(0, dtype=np.float64))
        if value > best[0] + 1e-9:
            best = value, np.bincount(chosen, minlength=6) / len(chosen)
    assert fit_greedy_weights(TASK, probabilities, targets, metric, rounds=12) == pytest.approx(best[1])


def test_fit_greedy_weights_takes_a_better_member_more_than_once():
    better, worse = sharpen(make_probabilities(1, 2.0))[0], sharpen(make_probabilities(2, 1.5))[0]
    weights = fit_greedy_weights(TASK, np.stack([better, worse]), make_targets(), "log_loss")
    assert 0.5 < weights[0] < 1


def test_fit_greedy_weights_equal_probabilities_are_the_first_class_as_in_every_score():
    undecided, half_correct = stack_members([[0.5, 0.5], [0.5, 0.5]], [[0.6, 0.4], [0.4, 0.6]])
    targets = np.array([0, 0])
    assert score("accuracy", targets, undecided) == 1
    assert fit_greedy_weights(TASK, np.stack([undecided, half_correct]), targets, "accuracy", rounds=1).tolist() == [
        1,
        0,
    ]


def test_fit_greedy_weights_of_numbers_average_members_whose_errors_cancel():
    targets = np.random.default_rng(0).normal(size=50)
    members = np.stack([targets + 1, targets - 1, targets + 3])[:, :, None]
    task = make_task(TaskSpec("regression", ("y",)))
    assert fit_greedy_weights(task, members, targets, "rmse").tolist() == [0.5, 0.5, 0]


def test_fit_greedy_weights_of_numbers_first_round_takes_the_best_member_whatever_its_scale():
    """A mean over one member more than there are would shrink the predictions: the one twice too large would win."""
    targets = np.array([1.0, 2.0, 3.0])
    members = np.stack([2 * targets, 1.1 * targets])[:, :, None]
    task = make_task(TaskSpec("regression", ("y",)))
    assert fit_greedy_weights(task, members, targets, "rmse", rounds=1).tolist() == [0, 1]


def test_fit_greedy_weights_adds_fifty_members_unless_told_otherwise(monkeypatch):
    chosen, choose = [], greedy._choose
    monkeypatch.setattr(greedy, "_choose", lambda *arguments: chosen.append(choose(*arguments)) or chosen[-1])
    probabilities = np.stack([make_probabilities(seed, 1.0)[0] for seed in range(3)])
    weights = fit_greedy_weights(TASK, probabilities, make_targets(), "log_loss")
    sizes = [np.bincount(chosen[:size], minlength=3) / size for size in range(1, 51)]
    assert len(chosen) == 50 and any(np.allclose(weights, size) for size in sizes)
