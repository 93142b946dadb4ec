"""Choose the test-time views of a member: one at a time, the view that lowers the log loss of their mean most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from comp.metrics import log_losses


def choose_views(
    views: Sequence[str], view_probabilities: np.ndarray, targets: np.ndarray, max_views: int
) -> tuple[str, ...]:
    """Return at most `max_views` of `views`, in their order, for probabilities (views, images, classes).

    The first view, the untransformed image, is always chosen. A view that does not lower the log loss never is.
    """
    chosen, total = [0], view_probabilities[0].astype(np.float64)
    best = log_losses(targets, total).mean()
    while len(chosen) < min(max_views, len(views)):
        losses = {
            view: log_losses(targets, total + view_probabilities[view]).mean()
            for view in range(len(views))
            if view not in chosen
        }
        view = min(losses, key=losses.__getitem__)
        if losses[view] >= best:
            break
        best, total = losses[view], total + view_probabilities[view]
        chosen.append(view)
    return tuple(views[view] for view in sorted(chosen))
