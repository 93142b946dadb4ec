"""Asks whether something other than the subject gives the class away: picture size, JPEG quality, colour.

A network finds such shortcuts unasked, scores well on images of one origin, and fails on the next microscope.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from comp.data.image_stats import Survey
from comp.data.scan import Image

SPLITS = 5
PERMUTATIONS = 20
# "Above all 20 shuffles" would be a false alarm in 1 of 21 properties; 4 deviations make it far rarer.
DEVIATIONS = 4.0
# A property that goes less than a twentieth of the way from chance to certainty is not worth a user's time.
# Blood cells: the mean colour goes 26% of it, the edge colour 6%, the picture size 1%.
MIN_LIFT = 0.05
MIN_GROUP_SIZE = 10  # fewer images of one size than this say nothing about their classes
# Share of a batch that would have to change class to be spread as all are, beyond that of a random draw.
# Blood cells: 0.56 for the batch of 360x360 pixels, 0.27 for that of 366x369.
MIN_UNEVENNESS = 0.2
TINT = 10.0  # grey levels by which one channel must stand out for a batch to be called bluer
EDGE = 2  # pixels of the 32 px thumbnail: the outermost sixteenth on each side


@dataclass(frozen=True)
class Confound:
    """One property that predicts the class: what was found, what to do, and the batches it was found in."""

    property: str
    summary: str
    advice: str
    batches: tuple[tuple[str, tuple[Image, ...]], ...] = ()


ADVICE = {
    "picture size": "find out why classes differ in size (another camera or source?): the network sees all "
    "pictures at one size, yet may notice how they were resized",
    "JPEG quality": "save all images again at the lowest quality among them, or train with JPEG noise",
    "mean colour": "partly honest, as subjects differ in colour; where stain or light differ by class, train "
    "with colour jitter",
    "edge colour": "the edge is mostly background, so this hints at stain or light; train with colour jitter",
}


def find_confounds(survey: Survey) -> list[Confound]:
    """Every property that predicts the class on its own, then the unusual sizes that sit in a few classes."""
    labels = np.array([image.label for image in survey.images])
    count = Counter(labels.tolist())
    survey = survey.rows([count[label] >= SPLITS for label in labels])
    labels = np.array([image.label for image in survey.images])
    if len(set(labels)) < 2:
        return []
    alone = (_find_predictive_property(name, values, labels) for name, values in _properties(survey))
    return [confound for confound in alone if confound] + list(_uneven_sizes(survey, labels))


def _properties(survey: Survey) -> Iterator[tuple[str, np.ndarray]]:
    rim = np.ones(survey.thumbs.shape[1:3], bool)
    rim[EDGE:-EDGE, EDGE:-EDGE] = False
    yield "picture size", np.stack([survey.width, survey.height], axis=1)
    yield "JPEG quality", np.nan_to_num(survey.quality, nan=0.0)[:, None]  # 0: another format
    yield "mean colour", survey.colour
    yield "edge colour", survey.thumbs[:, rim].mean(1)


def _find_predictive_property(name: str, values: np.ndarray, labels: np.ndarray) -> Confound | None:
    """How well one property predicts the class by itself, or None where that is close to chance."""
    if (values == values[0]).all():
        return None
    score = _balanced_accuracy(values, labels)
    rng = np.random.default_rng(0)
    shuffled = [_balanced_accuracy(values, rng.permutation(labels)) for _ in range(PERMUTATIONS)]
    chance = float(np.mean(shuffled))
    if score - chance < DEVIATIONS * np.std(shuffled) or score - chance < MIN_LIFT * (1 - chance):
        return None
    return Confound(
        name,
        f"the {name} alone predicts the class: {score:.0%} balanced accuracy where chance is {chance:.1%}",
        ADVICE[name],
    )


def _balanced_accuracy(values: np.ndarray, labels: np.ndarray) -> float:
    """Of a small decision tree that sees nothing but `values`, on images it was not fitted on."""
    tree = DecisionTreeClassifier(max_depth=8, min_samples_leaf=5, class_weight="balanced", random_state=0)
    predicted = np.empty_like(labels)
    for fit, held_out in StratifiedKFold(SPLITS, shuffle=True, random_state=0).split(values, labels):
        predicted[held_out] = tree.fit(values[fit], labels[fit]).predict(values[held_out])
    return float(balanced_accuracy_score(labels, predicted))


def _uneven_sizes(survey: Survey, labels: np.ndarray) -> Iterator[Confound]:
    """Unusual sizes are often too few to lift a score, yet each may be a batch with its own classes."""
    sizes = Counter(zip(survey.width.tolist(), survey.height.tolist(), strict=True))
    unusual = [size for size, count in sizes.most_common()[1:] if count >= MIN_GROUP_SIZE]
    batches = []
    for width, height in unusual:
        inside = (survey.width == width) & (survey.height == height)
        if _is_uneven(inside, labels):
            images = tuple(image for image, there in zip(survey.images, inside, strict=True) if there)
            remark = f"{width}x{height}: {_spread(inside, labels)}{_tint(inside, survey.colour)}"
            batches.append((remark, images))
    if batches:
        count = sum(len(images) for _, images in batches)
        yield Confound(
            "unusual size",
            f"{count} images not of the usual size sit unevenly in the classes",
            "probably batches of another origin: train with colour jitter, and compare their scores with the rest",
            tuple(batches),
        )


def _is_uneven(inside: np.ndarray, labels: np.ndarray) -> bool:
    rng = np.random.default_rng(0)
    shuffled = [_total_variation(inside, rng.permutation(labels)) for _ in range(PERMUTATIONS)]
    excess = _total_variation(inside, labels) - np.mean(shuffled)
    return bool(excess >= MIN_UNEVENNESS and excess >= DEVIATIONS * np.std(shuffled))


def _total_variation(inside: np.ndarray, labels: np.ndarray) -> float:
    """Total variation between the classes of the batch and of all images: 0 the same, 1 nothing in common."""
    number = np.unique(labels, return_inverse=True)[1]
    batch, everyone = np.bincount(number[inside], minlength=number.max() + 1), np.bincount(number)
    return float(np.abs(batch / batch.sum() - everyone / everyone.sum()).sum() / 2)


def _spread(inside: np.ndarray, labels: np.ndarray) -> str:
    """`30 images, ig 19, erythroblast 11, none in the other 6 classes`."""
    found = Counter(labels[inside].tolist()).most_common()
    absent = len(set(labels)) - len(found)
    shown = ", ".join(f"{label} {count}" for label, count in found[:8])
    more = f", and {len(found) - 8} more classes" if len(found) > 8 else ""
    none = f", none in the other {absent} class{'es' if absent > 1 else ''}" if absent else ""
    return f"{inside.sum()} images, {shown}{more}{none}"


def _tint(inside: np.ndarray, colour: np.ndarray) -> str:
    """`; bluer than the rest`, with both mean colours, where one channel stands out; else nothing."""
    here, rest = colour[inside].mean(0), colour[~inside].mean(0)
    shift = (here - rest) - (here - rest).mean()
    if shift.max() < TINT:
        return ""
    word = ("redder", "greener", "bluer")[int(shift.argmax())]
    numbers = ["/".join(f"{level:.0f}" for level in mean) for mean in (here, rest)]
    return f"; {word} than the rest (mean red/green/blue {numbers[0]} against {numbers[1]})"
