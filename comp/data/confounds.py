"""Find properties other than the subject that predict the class: image size, JPEG quality, colour.

A network learns such shortcuts. It then scores well on images of one origin and fails on those of another microscope.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from comp.data.image_stats import Survey
from comp.data.scan import Image
from comp.progress_bar import progress_bar

SPLITS = 5
PERMUTATIONS = 20
# "Above all 20 permutations" would be a false alarm for 1 in 21 properties; 4 standard deviations make it far rarer.
DEVIATIONS = 4.0
# Images and classes that the 21 x 5 trees of each property are fitted to: 4 to 7 s, whatever the size of the dataset.
MAX_IMAGES, MAX_CLASSES = 5000, 100
# A property that raises the score by less than a twentieth of the way from chance to 100% is not reported.
# Blood cells: the mean colour raises it by 26% of the way, the edge colour by 6%, the image size by 1%.
MIN_LIFT = 0.05
MIN_GROUP_SIZE = 10  # fewer images of one size than this do not show how their classes are distributed
# Share of a group that would have to change class to be distributed as all images are, beyond that of a random draw.
# Blood cells: 0.56 for the group of 360x360 pixels, 0.27 for that of 366x369.
MIN_UNEVENNESS = 0.2
MIN_TINT = 10.0  # grey levels by which one channel must stand out for a group to be called bluer
EDGE = 2  # pixels of the 32 px thumbnail: the outermost sixteenth on each side


@dataclass(frozen=True)
class ImageGroup:
    """Images of one unusual size, with a description of their classes and colour."""

    remark: str
    images: tuple[Image, ...]


@dataclass(frozen=True)
class Confound:
    """A property that predicts the class, with advice, and the groups of images that have it."""

    property_name: str
    summary: str
    advice: str
    groups: tuple[ImageGroup, ...] = ()

    @property
    def kind(self) -> str:
        """The name of the issue in runs/checks/*.json."""
        return KINDS[self.property_name]


ADVICE = {
    "image size": "find out why classes differ in size (another camera or source?): the network sees all images at "
    "one size, yet may learn how they were resized",
    "JPEG quality": "save all images again at the lowest quality among them, or train with JPEG noise",
    "mean colour": "partly legitimate, because subjects differ in colour; if stain or light differ by class, train "
    "with colour jitter",
    "edge colour": "the edge is mostly background, so this suggests stain or light; train with colour jitter",
}
# Names in runs/checks/*.json, which programs read: they stay.
KINDS = {
    "image size": "confound_picture_size",
    "JPEG quality": "confound_jpeg_quality",
    "mean colour": "confound_mean_colour",
    "edge colour": "confound_edge_colour",
    "unusual size": "confound_unusual_size",
}


def find_confounds(survey: Survey) -> list[Confound]:
    """Return each property that predicts the class on its own, then unusual sizes concentrated in a few classes."""
    labels = _labels(survey)
    count = Counter(labels.tolist())
    survey = survey.select([count[label] >= SPLITS for label in labels])
    labels = _labels(survey)
    if len(set(labels)) < 2:
        return []
    classes = np.unique(labels, return_inverse=True)[1]
    rows = _draw_rows(classes)
    images, names = f"{len(rows):,} images", f"{len(set(labels[rows])):,} classes"
    drawn = f"; on {images} of {names}, drawn from all" if len(rows) < len(labels) else ""
    properties = progress_bar(list(_properties(survey)), "properties")
    single = [_find_predictive_property(name, values[rows], classes[rows], drawn) for name, values in properties]
    return [confound for confound in single if confound] + list(_uneven_sizes(survey, labels))


def _draw_rows(classes: np.ndarray) -> np.ndarray:
    """Return the rows of at most MAX_IMAGES images of at most MAX_CLASSES classes, as evenly as these have images."""
    rng = np.random.default_rng(0)
    is_drawn = rng.permutation(classes.max() + 1)[classes] < MAX_CLASSES
    rows = rng.permutation(len(classes))
    rows = rows[is_drawn[rows]]
    rows = rows[np.argsort(classes[rows], kind="stable")]
    sizes = np.unique(classes[rows], return_counts=True)[1]
    position_in_class = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(rows[np.argsort(position_in_class, kind="stable")][:MAX_IMAGES])


def _labels(survey: Survey) -> np.ndarray:
    return np.array([image.label for image in survey.images])


def _properties(survey: Survey) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each property and its values (N, features)."""
    edge = np.ones(survey.thumbnails.shape[1:3], bool)
    edge[EDGE:-EDGE, EDGE:-EDGE] = False
    yield "image size", np.stack([survey.width, survey.height], axis=1)
    yield "JPEG quality", np.nan_to_num(survey.jpeg_quality, nan=0.0)[:, None]  # 0: another format
    yield "mean colour", survey.mean_colour
    yield "edge colour", survey.thumbnails[:, edge].mean(1)


def _find_predictive_property(name: str, values: np.ndarray, labels: np.ndarray, drawn: str) -> Confound | None:
    """Return a confound if the property predicts the class by itself clearly better than chance, else None.

    `drawn` ends its summary.
    """
    if (values == values[0]).all():
        return None
    score = _balanced_accuracy(values, labels)
    rng = np.random.default_rng(0)
    permuted = [_balanced_accuracy(values, rng.permutation(labels)) for _ in range(PERMUTATIONS)]
    chance = float(np.mean(permuted))
    if score - chance < DEVIATIONS * np.std(permuted) or score - chance < MIN_LIFT * (1 - chance):
        return None
    return Confound(
        name,
        f"the {name} alone predicts the class: {score:.0%} balanced accuracy where chance is {chance:.1%}{drawn}",
        ADVICE[name],
    )


def _balanced_accuracy(values: np.ndarray, labels: np.ndarray) -> float:
    """Return the cross-validated balanced accuracy of a small decision tree that sees only `values`."""
    tree = DecisionTreeClassifier(max_depth=8, min_samples_leaf=5, class_weight="balanced", random_state=0)
    predicted = np.empty_like(labels)
    for fit, held_out in StratifiedKFold(SPLITS, shuffle=True, random_state=0).split(values, labels):
        predicted[held_out] = tree.fit(values[fit], labels[fit]).predict(values[held_out])
    return float(balanced_accuracy_score(labels, predicted))


def _uneven_sizes(survey: Survey, labels: np.ndarray) -> Iterator[Confound]:
    """Yield a confound if groups of unusual sizes have unusual classes.

    Such groups are often too small to raise a score, yet each may be a batch of its own origin with its own classes.
    """
    sizes, size_of = np.unique(np.stack([survey.width, survey.height]), axis=1, return_inverse=True)
    counts = np.bincount(size_of)
    by_size = np.split(np.argsort(size_of, kind="stable"), np.cumsum(counts)[:-1])
    commonest_first = sorted(range(len(counts)), key=lambda size: (-counts[size], by_size[size][0]))
    unusual = [size for size in commonest_first[1:] if counts[size] >= MIN_GROUP_SIZE]
    classes = np.unique(labels, return_inverse=True)[1]
    rng = np.random.default_rng(0)
    permuted = [rng.permutation(classes) for _ in range(PERMUTATIONS)] if unusual else []
    groups = []
    for size in progress_bar(unusual, "unusual sizes"):
        rows = by_size[size]
        if _is_uneven(rows, classes, permuted):
            width, height = sizes[:, size]
            inside = np.isin(np.arange(len(labels)), rows)
            remark = f"{width}x{height}: {_describe_classes(inside, labels)}{_tint(inside, survey.mean_colour)}"
            groups.append(ImageGroup(remark, survey.select(inside.tolist()).images))
    if groups:
        count = sum(len(group.images) for group in groups)
        yield Confound(
            "unusual size",
            f"{count} images of an unusual size are spread unevenly over the classes",
            "probably groups of another origin: train with colour jitter, and compare their scores with the rest",
            tuple(groups),
        )


def _is_uneven(rows: np.ndarray, classes: np.ndarray, permuted: Sequence[np.ndarray]) -> bool:
    """Return whether a group's classes differ from all images' classes by more than random groups' classes do."""
    shares = np.bincount(classes) / len(classes)
    random = [_total_variation(permutation[rows], shares) for permutation in permuted]
    excess = _total_variation(classes[rows], shares) - np.mean(random)
    return bool(excess >= MIN_UNEVENNESS and excess >= DEVIATIONS * np.std(random))


def _total_variation(group: np.ndarray, shares: np.ndarray) -> float:
    """Return the total variation distance between a group's classes and the class shares of all, from 0 to 1."""
    return float(np.abs(np.bincount(group, minlength=len(shares)) / len(group) - shares).sum() / 2)


def _describe_classes(inside: np.ndarray, labels: np.ndarray) -> str:
    """Return a text such as `30 images, ig 19, erythroblast 11, none in the other 6 classes`."""
    counts = Counter(labels[inside].tolist()).most_common()
    absent = len(set(labels)) - len(counts)
    shown = ", ".join(f"{label} {count}" for label, count in counts[:8])
    more = f", and {len(counts) - 8} more classes" if len(counts) > 8 else ""
    none = f", none in the other {absent} class{'es' if absent > 1 else ''}" if absent else ""
    return f"{inside.sum()} images, {shown}{more}{none}"


def _tint(inside: np.ndarray, mean_colour: np.ndarray) -> str:
    """Return `; bluer than the rest` with both mean colours if one channel of the group stands out, else nothing."""
    group, rest = mean_colour[inside].mean(0), mean_colour[~inside].mean(0)
    shift = (group - rest) - (group - rest).mean()
    if shift.max() < MIN_TINT:
        return ""
    colour = ("redder", "greener", "bluer")[int(shift.argmax())]
    group_text, rest_text = ("/".join(f"{level:.0f}" for level in mean) for mean in (group, rest))
    return f"; {colour} than the rest (mean red/green/blue {group_text} against {rest_text})"
