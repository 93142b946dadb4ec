"""A view is chosen if it lowers the log loss of the mean, up to the maximum number of views."""

from __future__ import annotations

import numpy as np

from comp.ensemble.view_selection import choose_views
from tests.ensemble.pools import IMAGES, TASK, VIEWS, make_probabilities, make_targets


def test_choose_views_keeps_the_first_view_and_drops_useless_ones():
    views = np.concatenate([make_probabilities(1, 2.0), make_probabilities(50, -1.0), make_probabilities(2, 2.0)])
    assert choose_views(TASK, VIEWS, views, make_targets(), 3) == ("identity", "vflip")
    assert choose_views(TASK, VIEWS, views[[1, 0, 2]], make_targets(), 1) == ("identity",)


def test_choose_views_never_exceeds_max_views():
    views = np.full((3, IMAGES, 4), 0.25)
    for view in range(3):  # each predicts a third of the images, and is uniform on the others
        predicted = np.arange(view, IMAGES, 3)
        views[view, predicted] = 0.01
        views[view, predicted, make_targets()[predicted]] = 0.97
    assert [len(choose_views(TASK, VIEWS, views, make_targets(), limit)) for limit in (1, 2, 3, 8)] == [1, 2, 3, 3]


def test_choose_views_never_buys_a_view_that_changes_nothing():
    """A view costs time: equal predictions leave the log loss as it is."""
    first = make_probabilities(1, 2.0)
    assert choose_views(TASK, VIEWS, np.concatenate([first, first, first]), make_targets(), 3) == ("identity",)
