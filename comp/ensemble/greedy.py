"""Ensemble selection (Caruana 2004): repeatedly add the member that improves the score most, with replacement.

No library has it for many members: the addition of each of 200 members is tried at once, and a round of 3,200
images x 8 classes takes 19 ms for accuracy, 4 ms for log loss.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from comp.metrics import find_metric
from comp.metrics.class_counts import ClassCounts, ClassScore, ClassSums, count_classes
from comp.progress_bar import progress_bar
from comp.tasks import Task

ROUNDS = 50


def fit_greedy_weights(
    task: Task, predictions: np.ndarray, targets: np.ndarray, metric: str, rounds: int = ROUNDS
) -> np.ndarray:
    """Return weights (members,) for predictions (members, images, columns), members in the order of their names.

    Ties between members are broken by membership in the ensemble, then by the lower loss, then by name. Ties between
    ensembles are broken by size: the smallest wins.
    """
    ensemble = _make_ensemble(task, predictions, targets, metric)
    counts = np.zeros(len(predictions), int)
    best_score, best_counts = -np.inf, counts
    for _ in progress_bar(range(rounds), "greedy", delay=2):
        scores, losses = ensemble.try_each()
        chosen = _choose(scores, counts > 0, losses)
        counts[chosen] += 1
        ensemble.add(chosen)
        if scores[chosen] > best_score + 1e-12:
            best_score, best_counts = scores[chosen], counts.copy()
    return best_counts / best_counts.sum()


class _Ensemble(Protocol):
    """The members chosen so far."""

    def try_each(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the score (higher is better) and the loss of the ensemble with each member added."""

    def add(self, member: int) -> None:
        """Add a member, for good."""


def _make_ensemble(task: Task, predictions: np.ndarray, targets: np.ndarray, metric: str) -> _Ensemble:
    computation = find_metric(metric).computation(targets)
    if isinstance(computation, ClassSums):
        return _ClassEnsemble(predictions, targets, find_metric(metric).sign, computation.from_counts)
    if metric == "log_loss" and task.form == "classes":
        return _LossEnsemble(predictions, targets)
    return _PlainEnsemble(task, predictions, targets, metric)


class _PlainEnsemble:
    """An ensemble of any task and metric: every candidate mean is scored on its own."""

    def __init__(self, task: Task, predictions: np.ndarray, targets: np.ndarray, metric: str):
        self.task, self.predictions, self.targets, self.metric = task, predictions, targets, find_metric(metric)
        self.total, self.size = np.zeros(predictions.shape[1:]), 0

    def try_each(self) -> tuple[np.ndarray, np.ndarray]:
        means = [(self.total + member) / (self.size + 1) for member in self.predictions]
        scores = [self.metric.sign * self.metric.score(self.targets, mean) for mean in means]
        return np.array(scores), np.array([self.task.losses(self.targets, mean).mean() for mean in means])

    def add(self, member: int) -> None:
        self.total += self.predictions[member]
        self.size += 1


class _LossEnsemble:
    """An ensemble of classes scored by the log loss, which needs each image's probability of its own class alone."""

    def __init__(self, probabilities: np.ndarray, targets: np.ndarray):
        self.of_target = probabilities[:, np.arange(len(targets)), targets].astype(np.float32)
        self.total, self.size = np.zeros(len(targets), np.float32), 0

    def try_each(self) -> tuple[np.ndarray, np.ndarray]:
        losses = np.array([_log_loss(self.total + added, self.size + 1) for added in self.of_target])
        return -losses, losses

    def add(self, member: int) -> None:
        self.total += self.of_target[member]
        self.size += 1


class _ClassEnsemble:
    """An ensemble scored by class counts."""

    def __init__(self, probabilities: np.ndarray, targets: np.ndarray, sign: int, from_counts: ClassScore):
        self.targets, self.sign, self.from_counts = targets, sign, from_counts
        self.by_class = np.ascontiguousarray(probabilities.transpose(0, 2, 1), dtype=np.float32)
        self.total = np.zeros(self.by_class.shape[1:], np.float32)
        self.loss = _LossEnsemble(probabilities, targets)

    def try_each(self) -> tuple[np.ndarray, np.ndarray]:
        losses = self.loss.try_each()[1]
        return self.sign * _scores(self.by_class, self.total, self.targets, self.from_counts), losses

    def add(self, member: int) -> None:
        self.total += self.by_class[member]
        self.loss.add(member)


def _choose(scores: np.ndarray, in_ensemble: np.ndarray, losses: np.ndarray) -> int:
    tied = np.flatnonzero(scores >= scores.max() - 1e-12)
    if in_ensemble[tied].any():
        tied = tied[in_ensemble[tied]]
    return int(tied[np.argmin(losses[tied])])  # argmin takes the first of equals


def _log_loss(sums: np.ndarray, size: int) -> float:
    return float(-np.log(np.maximum(sums / np.float32(size), np.finfo(np.float32).eps)).mean(dtype=np.float64))


def _scores(by_class: np.ndarray, total: np.ndarray, targets: np.ndarray, from_counts: ClassScore) -> np.ndarray:
    """Return the score of the ensemble with each member added."""
    classes = len(total)
    counts = np.empty((3, len(by_class), classes), np.int64)
    predicted, highest, value = np.empty(len(targets), np.int64), total[0].copy(), total[0].copy()
    for member, added in enumerate(by_class):  # one member at a time: its arrays fit into the processor's cache
        np.add(added[0], total[0], out=highest)
        predicted[:] = 0
        for index in range(1, classes):
            np.add(added[index], total[index], out=value)
            np.copyto(predicted, index, where=value > highest)
            np.maximum(highest, value, out=highest)
        counts_of_member = count_classes(targets, predicted, classes)
        counts[:, member] = counts_of_member.true, counts_of_member.predicted, counts_of_member.correct
    return from_counts(ClassCounts(*counts))
