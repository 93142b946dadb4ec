"""Which test-time views a member is worth: one at a time, the one that lowers the log loss of their mean most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from comp.metrics import log_losses


def choose_views(views: Sequence[str], spoken: np.ndarray, truth: np.ndarray, most: int) -> tuple[str, ...]:
    """Of (views, images, classes), at most so many, in the order they were offered. The first offered, the picture as
    it is, is always among them; a view that lowers nothing is not."""
    chosen, total = [0], spoken[0].astype(np.float64)
    best = log_losses(truth, total).mean()
    while len(chosen) < min(most, len(views)):
        losses = {
            view: log_losses(truth, total + spoken[view]).mean() for view in range(len(views)) if view not in chosen
        }
        view = min(losses, key=losses.get)
        if losses[view] >= best:
            break
        best, total = losses[view], total + spoken[view]
        chosen.append(view)
    return tuple(views[view] for view in sorted(chosen))
