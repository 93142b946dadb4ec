"""Images unlike the training data: far from all others among the features of a model, in training and in test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comp.diagnosis.outliers import energy, neighbour_distances
from comp.figures import BAD, GOOD, new_figure, style_axis
from comp.prediction.explanations import Features
from comp.report.section import Figure, Finding, Section
from comp.report.source import Source
from comp.text import format_share

MAX_IMAGES = 16  # of training and of test
FAR_PERCENTILE = 99  # of the training images' distances: beyond it an image is far


@dataclass(frozen=True)
class Outlier:
    """An image that is unlike the others."""

    image: str
    uri: str
    distance: float  # 1 is typical
    energy: float | None  # high where no class is supported; None for other tasks
    label: str


def build(source: Source) -> Section | None:
    explainer = source.explainer
    if explainer is None:
        return None
    oof, fold, has_energy = explainer.oof_features(), explainer.folds[0], explainer.run.task.kind == "single"
    train = oof_distances(oof)
    labels = {image.id: image.label or "" for image in explainer.dataset.train}
    values = {
        "train": _farthest(source, oof, train, has_energy, labels),
        "train_count": len(train),
        "test": [],
        "test_count": 0,
        "fold": fold,
        "has_energy": has_energy,
    }
    groups, findings = [("training", train)], []
    if explainer.dataset.test:
        features = explainer.test_features(fold)
        test = neighbour_distances(oof.features[oof.folds == fold], features.features)
        far = float((test > np.percentile(train, FAR_PERCENTILE)).mean())
        values |= {"test": _farthest(source, features, test, has_energy, {}), "test_count": len(test), "far": far}
        groups.append(("test", test))
        count = f"{format_share(far)} of {len(test):,} test images"
        text = f"{count} are farther from the training images than 99 % of these are"
        findings.append(Finding("trust", text, "problem" if far > 0.05 else "fine"))
    return Section("Unlike the training data", "unlike", "outliers.html", values, (_draw(groups),), tuple(findings))


def oof_distances(oof: Features) -> np.ndarray:
    """Return the distance of each image to others of its fold, by the model that has been trained on none of them."""
    distances = np.empty(len(oof.images))
    for fold in np.unique(oof.folds):
        rows = oof.folds == fold
        distances[rows] = neighbour_distances(oof.features[rows])
    return distances


def _farthest(
    source: Source, features: Features, distances: np.ndarray, has_energy: bool, labels: dict[str, str]
) -> list[Outlier]:
    energies = energy(features.outputs) if has_energy else None
    return [
        Outlier(
            image := features.images[row],
            source.pictures.data_uri(image),
            float(distances[row]),
            None if energies is None else float(energies[row]),
            labels.get(image, ""),
        )
        for row in np.argsort(-distances, kind="stable")[:MAX_IMAGES]
    ]


def _draw(groups: Sequence[tuple[str, np.ndarray]]) -> Figure:
    figure = new_figure(4.6, 2.4)
    axis = figure.subplots()
    bins = np.linspace(0, max(float(values.max()) for _, values in groups), 40).tolist()
    for (name, values), colour in zip(groups, (GOOD, BAD), strict=False):
        weights = np.full(len(values), 100 / len(values))
        axis.hist(values, bins, weights=weights, histtype="step", color=colour, label=f"{name} (n = {len(values):,})")
    axis.legend(fontsize=7, frameon=False)
    axis.set_ylabel("share of images (%)", fontsize=8)
    style_axis(axis, label="distance to the tenth neighbour (1 = median of the fold)", grid="both")
    counts = ", ".join(f"{len(values):,} {name} images" for name, values in groups)
    return Figure("distances", figure, f"Distance of each image to others among the features of a model (n = {counts})")
