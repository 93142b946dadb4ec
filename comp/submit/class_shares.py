"""Compare the predicted class shares with those of the training set. A large difference usually means a broken file.

The distance is the total variation: the share of rows whose class would have to change. Its noise is the 99.9 %
quantile of the distance of random samples of as many rows, drawn with the training shares. Errors of the model and a
different composition of the test set add to the distance. A warning is therefore given from WARNING_MARGIN above the
noise, and a file is suspicious from SUSPICIOUS_MARGIN above it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from comp.submit.format_checks import SubmissionIssue

DRAWS = 10_000
WARNING_MARGIN, SUSPICIOUS_MARGIN = 0.02, 0.3


def class_share_issues(predicted: Iterable[str], class_counts: Mapping[str, int]) -> Iterator[SubmissionIssue]:
    """Yield an issue if the shares of the predicted classes are far from training's.

    `class_counts` has the number of training images of each class.
    """
    predicted_counts = Counter(predicted)
    rows, classes = predicted_counts.total(), list(class_counts)
    prior = np.array([class_counts[label] for label in classes]) / sum(class_counts.values())
    shares = np.array([predicted_counts[label] for label in classes]) / rows
    distance, noise = float(total_variation(shares, prior)), sampling_noise(prior, rows)
    if distance <= noise + WARNING_MARGIN:
        return
    worst = int(np.argmax(np.abs(shares - prior)))
    yield SubmissionIssue(
        "suspicious" if distance > noise + SUSPICIOUS_MARGIN else "warning",
        f"its class shares are {distance:.1%} away from training's (random samples of {rows:,} training rows: at most "
        f"{noise:.1%}); {classes[worst]} has {shares[worst]:.1%} instead of {prior[worst]:.1%}",
    )


def total_variation(shares: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return the total variation distance of `shares` (..., classes) from `prior` (classes)."""
    return np.abs(shares - prior).sum(-1) / 2


def sampling_noise(prior: np.ndarray, rows: int) -> float:
    """Return the 99.9 % quantile of the distance of random samples of `rows` rows.

    The seed is fixed, so that the same file always gets the same result.
    """
    shares = np.random.default_rng(0).multinomial(rows, prior, size=DRAWS) / rows
    return float(np.quantile(total_variation(shares, prior), 0.999))
