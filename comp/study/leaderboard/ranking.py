"""Groups of comparable entries, best first, and paired tests of each entry against one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comp import config as configs
from comp.errors import UserError
from comp.metrics import find_metric
from comp.prediction_file import read_any_predictions
from comp.progress_bar import progress_bar
from comp.stats import Comparison, compare, resample_scores
from comp.study.leaderboard.entries import READ_ERRORS, LeaderboardEntry
from comp.tasks import make_task, single_label


@dataclass(frozen=True)
class PairedTest(Comparison):
    """An entry compared with the reference of its group, on the images that both predicted."""

    images: int


@dataclass(frozen=True)
class LeaderboardGroup:
    """Entries with the same split and metric; others are not comparable."""

    dataset: str
    folds_sha256: str
    metric: str
    higher_is_better: bool
    entries: list[LeaderboardEntry]  # best first; then those that lack folds, then those without a score
    best: LeaderboardEntry | None  # complete and not optimistic, if there is such an entry
    reference: LeaderboardEntry | None  # which the others are tested against
    tests: dict[str, PairedTest]  # name of the entry -> test


def group_entries(
    entries: Iterable[LeaderboardEntry], reference: LeaderboardEntry | None = None
) -> list[LeaderboardGroup]:
    """Group the entries by split and metric, and test each against the best of its group.

    With a reference, return the entries that are comparable with it, tested against it.
    """
    comparable = defaultdict(list)
    for entry in entries:
        comparable[entry.folds_sha256, entry.metric].append(entry)
    if reference is not None:
        others = [entry for entry in comparable[reference.folds_sha256, reference.metric] if entry != reference]
        return [_make_group([reference, *others], reference)]
    return sorted(
        map(_make_group, comparable.values()), key=lambda group: (group.dataset, group.metric, group.folds_sha256)
    )


def _make_group(entries: list[LeaderboardEntry], reference: LeaderboardEntry | None = None) -> LeaderboardGroup:
    """Sort comparable entries, and test the others against the reference; None: the best."""
    first = entries[0]
    entries = sorted(entries, key=_sort_key)
    scored = [entry for entry in entries if entry.score is not None]
    best = next((entry for entry in scored if entry.complete and not entry.optimistic), next(iter(scored), None))
    reference = reference or best
    return LeaderboardGroup(
        _dataset(entries),
        first.folds_sha256,
        first.metric,
        first.higher_is_better,
        entries,
        best,
        reference,
        _test_entries(reference, scored) if reference else {},
    )


def _sort_key(entry: LeaderboardEntry) -> tuple[bool, bool, float, str]:
    score = 0.0 if entry.score is None else -entry.score if entry.higher_is_better else entry.score
    return entry.score is None, not entry.complete, score, entry.name


def _dataset(entries: list[LeaderboardEntry]) -> str:
    """Return the dataset of a group. Only one config is read, as that takes 3 ms."""
    for entry in entries:
        if entry.dataset is not None:
            return entry.dataset
        try:
            return configs.load(entry.path / "config.yaml")[0].dataset
        except READ_ERRORS:
            continue
    return "an unknown dataset"


@dataclass(frozen=True)
class _OofPredictions:
    """OOF predictions; the classes are sorted by name."""

    images: pd.Index
    classes: list[str]
    targets: np.ndarray
    probabilities: np.ndarray


def _test_entries(reference: LeaderboardEntry, entries: list[LeaderboardEntry]) -> dict[str, PairedTest]:
    """Test the entries against the reference. Those that share the same images with it share the resamples too."""
    expected = _read_oof(reference, sort_by_image=True)  # a blend's images are resampled in this order: the same p
    if expected is None or not _is_known(reference.metric):
        return {}
    groups: dict[bytes, dict[str, np.ndarray]] = defaultdict(dict)  # shared images -> entry -> its probabilities
    for entry in progress_bar(entries, "reading predictions"):
        oof = _read_oof(entry) if entry is not reference else None
        if oof is None or oof.classes != expected.classes:
            continue
        positions = oof.images.get_indexer(expected.images)
        shared = positions >= 0
        if shared.any() and (oof.targets[positions[shared]] == expected.targets[shared]).all():
            groups[shared.tobytes()][entry.name] = oof.probabilities[positions[shared]]
    tests: dict[str, PairedTest] = {}
    for key, probabilities in groups.items():
        shared = np.frombuffer(key, bool)
        candidates = [expected.probabilities[shared], *probabilities.values()]
        first, *others = resample_scores(reference.metric, expected.targets[shared], candidates)
        for name, other in zip(probabilities, others, strict=True):
            comparison = compare(other, first)
            tests[name] = PairedTest(comparison.difference, comparison.interval, comparison.p, int(shared.sum()))
    return tests


def _is_known(metric: str) -> bool:
    """Return whether a metric can be computed: the file of a user's own may be missing."""
    try:
        find_metric(metric)
    except UserError:
        return False
    return True


def _read_oof(entry: LeaderboardEntry, sort_by_image: bool = False) -> _OofPredictions | None:
    """Return the OOF predictions of an entry, or None if they are missing, invalid or not those that were written."""
    try:
        stored = read_any_predictions(entry.oof)
        if entry.oof_sha256 not in (None, stored.sha256) or "label" not in stored.table:
            return None
        task = single_label(sorted(stored.columns)) if entry.task is None else make_task(entry.task)
        table = task.by_row(stored.table)
        table = table.sort_index() if sort_by_image else table
        targets, predictions = task.to_arrays(table)
    except READ_ERRORS:
        return None
    is_valid = not task.find_invalid(predictions)
    return _OofPredictions(table.index, list(task.columns), targets, predictions) if is_valid else None
