"""The images in two dimensions, in several colourings, and whether test images can be told from training images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from comp.data.image_stats import Survey
from comp.diagnosis.adversarial import Separation, separate
from comp.diagnosis.projection import choose_sample, project
from comp.figures import BAD, GOOD, QUIET, SERIES, new_figure, style_axis
from comp.prediction.explanations import Explainer
from comp.report.oof import OofPredictions
from comp.report.section import Figure, Finding, Section
from comp.report.source import Source
from comp.text import format_interval, shorten

STYLES = [(colour, marker) for marker in "o^s" for colour in SERIES[:6]]  # of the commonest groups; others are grey
MIN_IMAGES = 20
SHIFTED_AUC = 0.6  # the lower end of its interval, from which the test images are called different


def build(source: Source) -> Section | None:
    explainer = source.explainer
    if explainer is None or len(explainer.dataset.train) < MIN_IMAGES:
        return None
    fold = explainer.folds[0]
    features = explainer.train_features(fold)
    ids, vectors, is_test = list(features.images), features.features, np.zeros(len(features.images), bool)
    separation = None
    if explainer.dataset.test:
        test = explainer.test_features(fold)
        oof = explainer.oof_features()
        separation = separate(oof.features[oof.folds == fold], test.features)
        ids, vectors = [*ids, *test.images], np.concatenate([vectors, test.features])
        is_test = np.append(is_test, np.ones(len(test.images), bool))
    sample = choose_sample(len(ids))
    points, is_test = project(vectors[sample]), is_test[sample]
    ids = [ids[row] for row in sample]
    figures = _figures(explainer, source.oof, source.survey, ids, points, is_test)
    values = {
        "images": len(vectors),
        "shown": len(sample),
        "fold": fold,
        "separation": separation,
        "validated": int((explainer.predictor.read_split() == fold).sum()),
        "test": len(explainer.dataset.test),
        "names": [figure.name for figure in figures],
    }
    findings = (_finding(separation),) if separation else ()
    return Section("Embedding", "embedding", "embedding.html", values, tuple(figures), findings)


def _finding(separation: Separation) -> Finding:
    interval = format_interval(separation.interval, 2)
    text = f"A classifier tells test from training images with an AUC of {separation.auc:.2f} {interval}"
    if separation.interval[0] >= SHIFTED_AUC:
        return Finding("trust", f"{text}: they differ, and the score may not hold for test images", "problem")
    return Finding("trust", f"{text}; 0.5 or less is chance", "fine")


def _figures(
    explainer: Explainer,
    oof: OofPredictions | None,
    stats: Survey | None,
    ids: list[str],
    points: np.ndarray,
    is_test: np.ndarray,
) -> list[Figure]:
    """Return a figure per colouring that has a meaning."""
    is_train = ~is_test
    train_ids = [image for image, test in zip(ids, is_test, strict=True) if not test]
    train = points[is_train]
    labels = {image.id: image.label or "" for image in explainer.dataset.train}
    split = explainer.predictor.read_split()
    folds = {image.id: f"fold {fold}" for image, fold in zip(explainer.dataset.train, split, strict=True)}
    figures = []
    if explainer.run.task.form == "classes":
        figures.append(_draw_groups("class", train, [labels[image] for image in train_ids]))
    elif explainer.run.task.form == "numbers":
        numbers = np.array([float(labels[image]) for image in train_ids])
        figures.append(_draw_values("number", train, numbers, explainer.run.task.columns[0], is_log=False))
    if oof and oof.has_classes:
        wrong = dict(zip(oof.images, oof.is_wrong.tolist(), strict=True))
        names = {True: "wrong", False: "right"}
        answers = [names.get(wrong.get(image), "not validated") for image in train_ids]  # type: ignore[arg-type]
        colours = {"not validated": (QUIET, "o"), "right": (GOOD, "o"), "wrong": (BAD, "^")}
        figures.append(_draw_groups("error", train, answers, colours))
    figures.append(_draw_groups("fold", train, [folds[image] for image in train_ids]))
    if is_test.any():
        subsets = ["test" if test else "training" for test in is_test]
        figures.append(_draw_groups("test", points, subsets, {"training": (GOOD, "o"), "test": (BAD, "^")}))
    pixels = (
        {image.id: int(w * h) for image, w, h in zip(stats.images, stats.width, stats.height, strict=True)}
        if stats
        else {}
    )
    known = [image in pixels for image in train_ids]
    sizes = np.array([pixels.get(image, 0) for image in train_ids])[known]
    if len(set(sizes.tolist())) > 1:
        figures.append(_draw_values("size", train[known], np.sqrt(sizes), "side of the image (pixels)", is_log=True))
    return figures


def _draw_groups(
    name: str, points: np.ndarray, groups: list[str], styles: Mapping[str, tuple[str, str]] | None = None
) -> Figure:
    """Draw groups in colours and markers: those of `styles` alone, in its order, or else the commonest groups."""
    names, counts = np.unique(groups, return_counts=True)
    if styles is None:
        common = sorted(names[np.argsort(-counts, kind="stable")][: len(STYLES)].tolist())
        styles = dict(zip(common, STYLES, strict=False))
    figure, axis = _new_axis(name)
    members = np.array(groups)
    others = ~np.isin(members, list(styles))
    axis.scatter(*points[others].T, s=3, color=QUIET, linewidths=0, label="other" if others.any() else None)
    for group, (colour, marker) in styles.items():
        rows = members == group
        if rows.any():
            axis.scatter(*points[rows].T, s=6, color=colour, marker=marker, linewidths=0, label=shorten(group, 20))
    figure.legend(loc="outside right upper", fontsize=7, frameon=False, markerscale=3)
    return Figure(f"embedding-{name}", figure, f"Coloured by {TITLES[name]} (n = {len(points):,} images)")


def _draw_values(name: str, points: np.ndarray, values: np.ndarray, label: str, is_log: bool) -> Figure:
    figure, axis = _new_axis(name)
    # a log scale for sides of 30 to 3,000 pixels; within a factor of two its labels are powers that nobody reads
    norm = LogNorm() if is_log and values.max() > 2 * values.min() > 0 else None
    drawn = axis.scatter(*points.T, s=4, c=values, cmap="viridis", norm=norm, linewidths=0)
    figure.colorbar(drawn, ax=axis, label=label)
    return Figure(f"embedding-{name}", figure, f"Coloured by {TITLES[name]} (n = {len(points):,} images)")


TITLES = {
    "class": "class",
    "number": "number",
    "error": "whether the answer is right",
    "fold": "fold",
    "test": "training and test",
    "size": "image size",
}


def _new_axis(name: str) -> tuple:
    figure = new_figure(4.4, 3.2)
    axis: Axes = figure.subplots()
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_ylabel("t-SNE 2 (no unit)", fontsize=7.5)
    style_axis(axis, TITLES[name], "t-SNE 1 (no unit)", grid="both")
    return figure, axis
