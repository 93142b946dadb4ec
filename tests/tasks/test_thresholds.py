"""The best threshold of a score, and probabilities moved so that it becomes 0.5."""

from __future__ import annotations

import numpy as np
import pytest

from comp.tasks.thresholds import best_threshold, move_threshold

PROBABILITIES = np.array([0.1, 0.3, 0.5, 0.6, 0.8])


def test_best_threshold_lies_between_two_probabilities():
    assert best_threshold(lambda threshold: -abs(threshold - 0.22), PROBABILITIES) == pytest.approx(0.2)


@pytest.mark.parametrize(("best", "expected"), [((0.2, 0.7), 0.7), ((0.2, 0.4, 0.7), 0.4), ((0.2,), 0.2)])
def test_best_threshold_of_equal_scores_is_the_nearest_to_one_half(best, expected):
    def score(threshold: float) -> float:
        return float(any(abs(threshold - value) < 0.01 for value in best))

    assert best_threshold(score, PROBABILITIES) == pytest.approx(expected)


def test_best_threshold_where_nothing_differs_is_one_half():
    assert best_threshold(lambda threshold: 1.0, PROBABILITIES) == 0.5
    assert best_threshold(lambda threshold: -threshold, np.full(4, 0.9)) == 0.5


def test_best_threshold_of_many_probabilities_tries_percentiles():
    tried = []
    best_threshold(lambda threshold: tried.append(threshold) or 0.0, np.linspace(0, 1, 10_000))
    assert len(tried) == 100 and min(tried) < 0.001 and max(tried) > 0.999


@pytest.mark.parametrize("threshold", [0.02, 0.5, 0.9])
def test_move_threshold_keeps_the_order_and_the_ends(threshold):
    probabilities = np.array([0.0, threshold / 2, threshold, (1 + threshold) / 2, 1.0])
    assert move_threshold(probabilities, threshold) == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_best_threshold_of_two_probabilities_is_between_them():
    assert best_threshold(lambda threshold: -threshold, np.array([0.1, 0.1, 0.3])) == pytest.approx(0.2)
    assert best_threshold(lambda threshold: threshold, np.array([0.7, 0.9])) == pytest.approx(0.8)
