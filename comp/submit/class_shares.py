"""Do the classes come as often as in training? Far off, a file is more often wrong than the test set is odd.

How far is the total variation distance: the share of rows that would have to be of another class. Its noise is what as
many rows drawn by the training shares would show at most, but for one draw in a thousand. A model's own errors and a
test set put together otherwise come on top, so a warning begins OWN_ERRORS beyond the noise, a refusal OTHER_CLASSES.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from comp.submit.format_checks import SubmissionIssue

DRAWS = 10_000
WARNING_MARGIN, SUSPICIOUS_MARGIN = 0.02, 0.3


def class_share_issues(predicted: Iterable[str], trained: Mapping[str, int]) -> Iterator[SubmissionIssue]:
    """`trained` counts the training images of each class."""
    counted = Counter(predicted)
    rows, classes = counted.total(), list(trained)
    prior = np.array([trained[label] for label in classes]) / sum(trained.values())
    shares = np.array([counted[label] for label in classes]) / rows
    far, noise = total_variation(shares, prior), sampling_noise(prior, rows)
    if far <= noise + WARNING_MARGIN:
        return
    worst = int(np.argmax(np.abs(shares - prior)))
    yield SubmissionIssue(
        "doubtful" if far > noise + SUSPICIOUS_MARGIN else "warning",
        f"its class shares are {far:.1%} away from training's ({rows:,} rows drawn by those: {noise:.1%} at "
        f"most); {classes[worst]} has {shares[worst]:.1%} instead of {prior[worst]:.1%}",
    )


def total_variation(shares: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return np.abs(shares - prior).sum(-1) / 2


def sampling_noise(prior: np.ndarray, rows: int) -> float:
    """What `rows` honest draws stay below in 999 cases of 1,000. One seed: the same file is always told the same."""
    drawn = np.random.default_rng(0).multinomial(rows, prior, size=DRAWS) / rows
    return float(np.quantile(total_variation(drawn, prior), 0.999))
