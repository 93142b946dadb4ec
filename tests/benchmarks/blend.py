"""Measure blends of many members, alone and with their cross-fit: python -m tests.benchmarks.blend [MEMBERS]"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from comp.ensemble.crossfit import MemberFitOptions, fit_each_fold, fit_members, fit_on_rows, predict_cross_fitted
from comp.ensemble.pool import MemberPredictions, Pool
from comp.tasks import single_label

IMAGES, CLASSES, FOLDS = 3200, 8, 5


def make_pool(count: int) -> Pool:
    """Return `count` members of different accuracy."""
    rng, targets = np.random.default_rng(0), np.arange(IMAGES) % CLASSES
    members = []
    for index in range(count):
        logits = rng.normal(size=(1, IMAGES, CLASSES))
        logits[0, np.arange(IMAGES), targets] += rng.uniform(1, 3)
        scores = np.exp(logits)
        members.append(
            MemberPredictions(f"m{index:04}", ("identity",), (scores / scores.sum(-1, keepdims=True)).astype("f4"))
        )
    return Pool(
        single_label("abcdefgh"),
        "accuracy",
        tuple(f"{index:05}" for index in range(IMAGES)),
        tuple("abcdefgh"[index] for index in targets),
        rng.permutation(IMAGES) % FOLDS,
        tuple(members),
    )


def main(members: int) -> None:
    pool = make_pool(members)
    for method in ("mean", "geometric", "vote", "greedy", "weights", *(["stack"] if members <= 20 else [])):
        start = time.perf_counter()
        fit_on_rows(method, fit_members(pool, np.arange(IMAGES), MemberFitOptions()), pool)
        alone = time.perf_counter() - start
        predict_cross_fitted(method, fit_each_fold(pool, MemberFitOptions()), pool)
        whole = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{method:<10} {alone:6.1f} s  with cross-fit {whole:6.1f} s  {peak:.2f} GB peak memory so far")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
