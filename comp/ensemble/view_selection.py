"""Choose the test-time views of a member: one at a time, the view that lowers the loss of their mean most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from comp.tasks import Task


def choose_views(
    task: Task, views: Sequence[str], view_predictions: np.ndarray, targets: np.ndarray, max_views: int
) -> tuple[str, ...]:
    """Return at most `max_views` of `views`, in their order, for predictions (views, images, columns).

    The first view, the untransformed image, is always chosen. A view that does not lower the loss never is.
    """
    chosen, total = [0], view_predictions[0].astype(np.float64)
    best = task.losses(targets, total).mean()
    while len(chosen) < min(max_views, len(views)):
        losses = {
            view: task.losses(targets, (total + view_predictions[view]) / (len(chosen) + 1)).mean()
            for view in range(len(views))
            if view not in chosen
        }
        view = min(losses, key=losses.__getitem__)
        if losses[view] >= best:
            break
        best, total = losses[view], total + view_predictions[view]
        chosen.append(view)
    return tuple(views[view] for view in sorted(chosen))
