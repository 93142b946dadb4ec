"""How long blends of many members take, alone and with their cross-fit: python -m tests.benchmarks.blend [MEMBERS]"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from comp.ensemble.crossfit import MemberFitOptions, fit_each_fold, fit_members, fit_on_rows, predict_cross_fitted
from comp.ensemble.pool import MemberPredictions, Pool

IMAGES, CLASSES, FOLDS = 3200, 8, 5


def pool_of(members: int) -> Pool:
    """Members that know more or less, each in its own way."""
    draw, truth = np.random.default_rng(0), np.arange(IMAGES) % CLASSES
    spoken = []
    for number in range(members):
        logits = draw.normal(size=(1, IMAGES, CLASSES))
        logits[0, np.arange(IMAGES), truth] += draw.uniform(1, 3)
        shares = np.exp(logits)
        spoken.append(
            MemberPredictions(f"m{number:04}", ("identity",), (shares / shares.sum(-1, keepdims=True)).astype("f4"))
        )
    return Pool(
        tuple("abcdefgh"),
        "accuracy",
        tuple(f"{number:05}" for number in range(IMAGES)),
        truth,
        draw.permutation(IMAGES) % FOLDS,
        tuple(spoken),
    )


def main(members: int) -> None:
    pool = pool_of(members)
    for method in ("mean", "geometric", "vote", "greedy", "weights", *(["stack"] if members <= 20 else [])):
        started = time.perf_counter()
        fit_on_rows(method, fit_members(pool, np.arange(IMAGES), MemberFitOptions()), pool)
        alone = time.perf_counter() - started
        predict_cross_fitted(method, fit_each_fold(pool, MemberFitOptions()), pool)
        whole = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{method:<10} {alone:6.1f} s  with cross-fit {whole:6.1f} s  {peak:.2f} GB at most so far")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
