"""A stack on few images or few classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comp.ensemble.stack import fit_stack
from tests.ensemble.pools import accuracy, cross_fitted, three_members


@pytest.mark.parametrize(
    ("targets", "folds"),
    [
        ([0] * 10 + [1] * 10, [0] * 10 + [1] * 10),
        ([0, 1], [0, 1]),
        ([0, 1], [0, 0]),
        ([0, 0, 0, 0, 1, 1] * 2, [0, 1, 2, 0, 0, 0] * 2),
    ],
)
@pytest.mark.filterwarnings("error")
def test_fit_stack_folds_that_leave_one_class_are_not_used_to_choose_c(targets, folds):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(2), (2, len(targets)))
    assert np.allclose(fit_stack(probabilities, np.array(targets), np.array(folds))(probabilities).sum(1), 1)


def test_fit_stack_unseen_class_is_never_predicted():
    pool = three_members()
    seen = pool.targets < 2
    pool = replace(
        pool,
        targets=pool.targets[seen],
        folds=pool.folds[seen],
        images=tuple(np.array(pool.images)[seen]),
        members=tuple(replace(member, oof=member.oof[:, seen]) for member in pool.members),
    )
    rows = cross_fitted(pool, "stack")
    assert rows[:, 2:].max() < 1e-6 and accuracy(pool, rows) > 0.6
