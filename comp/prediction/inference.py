"""Predict views of images with networks in memory. It needs no run, so bundles use it too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from comp.batches.loader import EvaluationSet, SquareSource, iterate_batches
from comp.engine.predict import Activation, Network, predict_probabilities
from comp.progress_bar import progress_bar


@dataclass(frozen=True)
class InferenceOptions:
    """Options of loading images and of computing on them."""

    size: int  # side of the image that the networks see, in pixels
    batch_size: int
    device: torch.device
    workers: int  # threads that decode and resize
    title: str  # text of the progress bar
    activate: Activation  # the task's: outputs -> predictions


def predict_images(
    networks: Sequence[Network],
    squares: SquareSource,
    rows: Sequence[int] | np.ndarray,
    views: Sequence[str],
    options: InferenceOptions,
) -> np.ndarray:
    """Return float32 predictions of shape (networks, views, rows, columns) for these rows of `squares`."""
    batches = EvaluationSet(squares, np.asarray(rows), options.size, options.batch_size)
    iterator = iterate_batches(batches, range(len(batches)), options.workers)
    progress = progress_bar(iterator, options.title, len(batches))
    return predict_probabilities(networks, progress, views=views, device=options.device, activate=options.activate)
