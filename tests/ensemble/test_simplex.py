"""The weights of the lowest log loss: compared with a grid, and with the condition that only the optimum meets."""

from __future__ import annotations

import numpy as np
import pytest

from comp.ensemble.simplex import fit_simplex_weights
from comp.metrics import score
from tests.ensemble.pools import IMAGES, TASK, make_probabilities, make_targets


def test_fit_simplex_weights_two_members_equal_the_best_of_a_grid():
    first, second = make_probabilities(1, 1.5)[0], make_probabilities(2, 1.0)[0]
    weights = fit_simplex_weights(TASK.blend_objective(np.stack([first, second]), make_targets()), 2)
    losses = [
        score("log_loss", make_targets(), share * first + (1 - share) * second) for share in np.linspace(0, 1, 101)
    ]
    assert weights.sum() == pytest.approx(1) and weights[0] == pytest.approx(np.argmin(losses) / 100, abs=0.011)


@pytest.mark.parametrize("members", [5, 60])
def test_fit_simplex_weights_meet_the_optimality_condition(members):
    """The mean ratio of a member's probability to the blend's is at most 1 at the optimum, and 1 for members with a
    weight."""
    probabilities = np.stack([make_probabilities(seed, 0.05 * seed)[0] for seed in range(members)])
    of_target = probabilities[:, np.arange(IMAGES), make_targets()].astype(float)
    weights = fit_simplex_weights(TASK.blend_objective(probabilities, make_targets()), members)
    ratios = (of_target / (weights @ of_target)).mean(1)
    assert ratios.max() < 1 + 1e-4 and np.allclose(ratios[weights > 0.01], 1, atol=1e-4)
