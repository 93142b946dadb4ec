"""Who may be compared with whom, in which order, and whether the best is better than the others or luckier."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from comp import config as configs
from comp.files import read_json
from comp.metrics import METRICS
from comp.stats import SIGNIFICANCE_LEVEL, compare, mcnemar_p_value, resample_scores
from comp.study.leaderboard.entries import READ_ERRORS, LeaderboardEntry
from comp.tables import read_csv


@dataclass(frozen=True)
class PairedTest:
    """On the images that both predicted out of fold. Positive is better than the best."""

    difference: float
    p: float
    inside_noise: bool
    images: int


@dataclass(frozen=True)
class LeaderboardGroup:
    """Entries scored on the same split by the same metric; nothing else is comparable."""

    dataset: str
    folds_sha256: str
    metric: str
    higher_is_better: bool
    entries: list[LeaderboardEntry]  # the best first; those that lack folds, then those without a score, last
    best: LeaderboardEntry | None  # that the others are held against: complete and not optimistic, if one is
    against: dict[str, PairedTest]  # by name


def group_entries(entries: Iterable[LeaderboardEntry]) -> list[LeaderboardGroup]:
    alike = defaultdict(list)
    for entry in entries:
        alike[entry.folds_sha256, entry.metric].append(entry)
    return sorted(map(_group, alike.values()), key=lambda group: (group.dataset, group.metric, group.folds_sha256))


def _group(entries: list[LeaderboardEntry]) -> LeaderboardGroup:
    first = entries[0]
    entries = sorted(entries, key=_sort_key)
    scored = [entry for entry in entries if entry.score is not None]
    best = next((entry for entry in scored if entry.complete and not entry.optimistic), next(iter(scored), None))
    return LeaderboardGroup(
        _dataset(entries),
        first.folds_sha256,
        first.metric,
        first.higher_is_better,
        entries,
        best,
        _against(best, scored) if best else {},
    )


def _sort_key(entry: LeaderboardEntry) -> tuple:
    value = 0.0 if entry.score is None else -entry.score if entry.higher_is_better else entry.score
    return entry.score is None, not entry.complete, value, entry.name


def _dataset(entries: list[LeaderboardEntry]) -> str:
    """Their config or note says it; one of them is read, for a config takes 3 ms."""
    for entry in entries:
        try:
            if entry.name.startswith("blends/"):
                return str(read_json(entry.path / "blend.json")["dataset"])
            return configs.load(entry.path / "config.yaml")[0].dataset
        except READ_ERRORS:
            continue
    return "an unknown dataset"


@dataclass(frozen=True)
class _OofPredictions:
    """Predictions out of fold; classes in a fixed order."""

    images: pd.Index
    classes: list[str]
    truth: np.ndarray  # class numbers
    probabilities: np.ndarray


def _against(best: LeaderboardEntry, entries: list[LeaderboardEntry]) -> dict[str, PairedTest]:
    """Those that share the same images with the best are tested together: they share the resampling too."""
    reference = _read(best.oof, by_id=True)  # the order in which a blend's images are resampled: the same p
    if reference is None or best.metric not in METRICS:
        return {}
    alike: dict[bytes, dict[str, np.ndarray]] = defaultdict(dict)
    for entry in entries:
        oof = _read(entry.oof) if entry is not best else None
        if oof is None or oof.classes != reference.classes:
            continue
        places = oof.images.get_indexer(reference.images)
        shared = places >= 0
        if shared.any() and (oof.truth[places[shared]] == reference.truth[shared]).all():
            alike[shared.tobytes()][entry.name] = oof.probabilities[places[shared]]
    found = {}
    for key, said in alike.items():
        shared = np.frombuffer(key, bool)
        found |= _test(best.metric, reference.truth[shared], reference.probabilities[shared], said)
    return found


def _test(metric: str, truth: np.ndarray, best: np.ndarray, said: dict[str, np.ndarray]) -> dict[str, PairedTest]:
    if metric == "accuracy":  # its test draws nothing, so two hundred runs take a second
        right = {name: each.argmax(1) == truth for name, each in said.items()}
        theirs = best.argmax(1) == truth
        return {
            name: PairedTest(
                float(mine.mean() - theirs.mean()),
                p := mcnemar_p_value(mine, theirs),
                p >= SIGNIFICANCE_LEVEL,
                len(truth),
            )
            for name, mine in right.items()
        }
    reference, *others = resample_scores(metric, truth, [best, *said.values()])
    tests = zip(said, (compare(other, reference) for other in others), strict=True)
    return {name: PairedTest(test.difference, test.p, test.inside_noise, len(truth)) for name, test in tests}


def _read(path: Path, by_id: bool = False) -> _OofPredictions | None:
    """None where there is no such file, or something is wrong with it."""
    try:
        table = read_csv(path, ["image", "label"])
        table = table.sort_values("image") if by_id else table
        classes = sorted(column for column in table.columns if column not in ("image", "label", "fold"))
        images, truth = pd.Index(table["image"]), pd.Index(classes).get_indexer(table["label"])
        probabilities = table[classes].to_numpy(np.float32)
    except READ_ERRORS:
        return None
    sound = images.is_unique and (truth >= 0).all() and np.isfinite(probabilities).all()
    return _OofPredictions(images, classes, truth, probabilities) if sound else None
