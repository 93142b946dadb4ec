"""Check a dataset: list everything that is wrong or suspicious, with the files and what to do about it."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from comp.data.confounds import find_confounds
from comp.data.duplicates import DuplicatePair, connected_groups, find_duplicates
from comp.data.image_files import files_below
from comp.data.image_stats import Survey, survey
from comp.data.scan import Dataset, Image
from comp.records.dataset import DataIssue, DatasetReport

LEFT_OUT_ADVICE = "complete the labels or the images, or leave it: data.allow_missing accepts them"


def check_dataset(
    dataset: Dataset,
    k: int,
    fold_of: Mapping[str, int] | None = None,
    is_official: bool = False,
    kept_stats: Path | None = None,
) -> DatasetReport:
    """Open every image once and report what harms a split into `k` folds, a training or a score.

    `fold_of` is the fold of each training image by id, if there is a split; others drew an official one.
    An image whose statistics are in the file `kept_stats` is not opened again.
    """
    stats = survey(dataset.train + dataset.test, kept=kept_stats)
    groups = _duplicate_groups(stats, find_duplicates(stats))
    train = stats.select([image.label is not None for image in stats.images])
    issues = [
        *_unreadable_issues(dataset, stats),
        *(DataIssue("left_out", "warning", line, LEFT_OUT_ADVICE) for line in dataset.left_out),
        *_other_file_issues(dataset),
        *_similar_name_issues(dataset),
        *_duplicate_issues(dataset, groups),
        *_split_issues(dataset, groups, fold_of or {}, is_official),
    ]
    if dataset.task.has_confusion:
        issues += [*_small_class_issues(dataset, train, groups, k), *_confound_issues(dataset, train)]
    issues.sort(key=lambda issue: issue.severity)  # errors first; otherwise the order stays
    classes = dataset.task.counts(dataset.targets)
    conversions = Counter(filter(None, stats.rules))
    return DatasetReport(
        dataset.name, classes, len(dataset.test), tuple(issues), len(dataset.train), dict(conversions.most_common())
    )


@dataclass(frozen=True)
class DuplicateGroup:
    """Copies of one image: the files, the hashes of their pixels, and the pairs that were found."""

    images: tuple[Image, ...]
    sha256: dict[Image, str]
    pairs: tuple[DuplicatePair, ...]

    def restrict_to(self, images: Iterable[Image]) -> DuplicateGroup:
        """Return the group of these images, with the pairs among them."""
        members = dict.fromkeys(images)
        pairs = tuple(pair for pair in self.pairs if pair.a in members and pair.b in members)
        return DuplicateGroup(tuple(members), self.sha256, pairs)

    @property
    def is_exact(self) -> bool:
        """Return whether all images have the same pixels."""
        return len({self.sha256[image] for image in self.images}) == 1

    @property
    def remark(self) -> str:
        """The similarity and transform of the least similar pair; empty for exact copies."""
        near = [pair for pair in self.pairs if pair.kind == "near"]
        if self.is_exact or not near:
            return ""
        worst = min(near, key=lambda pair: pair.similarity)
        return ", ".join(filter(None, [f"similarity {worst.similarity:.3f}", worst.transform]))


def _duplicate_groups(stats: Survey, pairs: list[DuplicatePair]) -> list[DuplicateGroup]:
    """Join the pairs into groups, in the order of their first pair."""
    sha256 = dict(zip(stats.images, stats.sha256, strict=True))
    group_of = dict(zip(stats.images, connected_groups(stats.images, pairs).tolist(), strict=True))
    members, links = defaultdict(list), defaultdict(list)
    for image in stats.images:
        members[group_of[image]].append(image)
    for pair in pairs:
        links[group_of[pair.a]].append(pair)
    return [DuplicateGroup(tuple(members[group]), sha256, tuple(links[group])) for group in links]


def _unreadable_issues(dataset: Dataset, stats: Survey) -> Iterator[DataIssue]:
    if stats.unreadable:
        yield DataIssue(
            "unreadable",
            "error",
            f"{count_text(len(stats.unreadable), 'image')} cannot be read in full",
            "get these files again, or delete them",
            tuple((_name(dataset, image.path),) for image, _ in stats.unreadable),
            tuple(reason for _, reason in stats.unreadable),
        )


def _other_file_issues(dataset: Dataset) -> Iterator[DataIssue]:
    """Report the files in train/ and test/ that are not used as images; hidden files do not count."""
    images = {image.path for image in dataset.train + dataset.test}
    files = [path for folder in dataset.folders for path in files_below(folder)]
    others = [path for path in dict.fromkeys(files) if path not in images]
    if others:
        yield DataIssue(
            "not_images",
            "warning",
            f"{count_text(len(others), 'file')} beside the images, not used",
            "move them away; if they are images, fix their suffix, or move them into a class folder",
            tuple((_name(dataset, path),) for path in others),
            tuple(_file_kind(path) for path in others),
        )


def _file_kind(path: Path) -> str:
    """Return what a path is, if it is not an ordinary file."""
    if path.is_symlink() and not path.exists():
        return "broken link"
    kinds = {"directory": path.is_dir, "pipe": path.is_fifo, "socket": path.is_socket}
    return next((kind for kind, is_kind in kinds.items() if is_kind()), "" if path.is_file() else "device")


def _similar_name_issues(dataset: Dataset) -> Iterator[DataIssue]:
    """Report names that differ in case or Unicode normalisation alone: on macOS and Windows they are one file."""
    by_name = defaultdict(set)
    for image in dataset.train + dataset.test:
        path = image.path.relative_to(dataset.root)
        for part in (path, *path.parents):
            by_name[unicodedata.normalize("NFC", part.as_posix()).casefold()].add(part.as_posix())
    similar = [tuple(sorted(names)) for names in by_name.values() if len(names) > 1]
    if similar:
        yield DataIssue(
            "similar_names",
            "warning",
            f"{count_text(len(similar), 'name')} repeated in other letters (case, or composition of accents)",
            "rename all but one: macOS and Windows take them for one file",
            tuple(similar),
        )


class DuplicateProblem(NamedTuple):
    """A way in which duplicates do harm: the kind of its issue, its severity, where the copies are, and advice."""

    kind: str
    severity: Literal["error", "warning"]
    where: str
    advice: str


CONFLICTING_LABELS = DuplicateProblem(
    "conflicting_labels", "error", "under two labels", "keep the copy under the correct label and delete the others"
)
TRAIN_IN_TEST = DuplicateProblem(
    "train_in_test",
    "error",
    "both in train and in test",
    "delete the training copy: the score on that test image would measure memory",
)
WITHIN_CLASS = DuplicateProblem(
    "duplicates",
    "warning",
    "repeated within a class",
    "nothing to do: `folds` keeps copies in one fold, so that they do not raise a score",
)
WITHIN_TEST = DuplicateProblem(
    "test_duplicates", "warning", "repeated within test", "nothing to do: the image counts twice in the score"
)


def _duplicate_issues(dataset: Dataset, groups: list[DuplicateGroup]) -> Iterator[DataIssue]:
    """Report the four problems that duplicates cause; a group that causes several is listed in each."""
    cases: dict[DuplicateProblem, list[DuplicateGroup]] = {
        problem: [] for problem in (CONFLICTING_LABELS, TRAIN_IN_TEST, WITHIN_CLASS, WITHIN_TEST)
    }
    for group in groups:
        by_label = defaultdict(list)
        for image in group.images:
            by_label[image.label].append(image)
        test = by_label.pop(None, [])  # test images have no label
        train = [image for images in by_label.values() for image in images]
        if len(by_label) > 1:
            cases[CONFLICTING_LABELS].append(group.restrict_to(train))
        if train and test:
            cases[TRAIN_IN_TEST].append(group)
        cases[WITHIN_CLASS] += [group.restrict_to(images) for images in by_label.values() if len(images) > 1]
        if len(test) > 1:
            cases[WITHIN_TEST].append(group.restrict_to(test))
    for problem, problem_groups in cases.items():
        yield from _exact_and_near(dataset, problem, problem_groups)


def _exact_and_near(dataset: Dataset, problem: DuplicateProblem, groups: list[DuplicateGroup]) -> Iterator[DataIssue]:
    """Report copies with identical pixels as one issue, and those rotated, re-encoded or resized as another."""
    exact, near = [group for group in groups if group.is_exact], [group for group in groups if not group.is_exact]
    for prefix, match, selected in (("", "identical pixels", exact), ("near_", "similar, or rotated", near)):
        if selected:
            yield DataIssue(
                prefix + problem.kind,
                problem.severity,
                f"{count_text(len(selected), 'image')} {problem.where} ({match})",
                problem.advice,
                tuple(_names(dataset, group.images) for group in selected),
                tuple(group.remark for group in selected),
            )


def _split_issues(
    dataset: Dataset, groups: list[DuplicateGroup], fold_of: Mapping[str, int], is_official: bool
) -> Iterator[DataIssue]:
    """Report copies that the split has in several folds, whatever its column of groups holds."""
    leaks = [
        group
        for group in groups
        if len({fold_of[image.id] for image in group.images if image.label and image.id in fold_of}) > 1
    ]
    if leaks:
        yield DataIssue(
            "split_groups",
            "warning" if is_official else "error",
            f"{count_text(len(leaks), 'image')} with copies in several folds of the split, so its score is too high",
            "nothing to do: the split is official, and compares with the scores of others"
            if is_official
            else "make a new split: python -m comp folds --force",
            tuple(_names(dataset, group.images) for group in leaks),
            tuple(
                ", ".join(f"fold {fold_of[image.id]}" for image in group.images if image.label and image.id in fold_of)
                for group in leaks
            ),
        )


def _small_class_issues(dataset: Dataset, train: Survey, groups: list[DuplicateGroup], k: int) -> Iterator[DataIssue]:
    """Report classes with fewer than `k` different readable images: copies share a fold, so a fold would have none.

    It is an error where `folds` could not make a split: a class is empty, or too little remains to validate on.
    """
    images = Counter(image.label for image in train.images)
    different = images.copy()
    for group in groups:
        for label, count in Counter(image.label for image in group.images).items():
            different[label] -= count - 1
    small = [label for label in dataset.classes if different[label] < k]
    validated = [different[label] for label in dataset.classes if images[label] >= k and different[label] > 1]
    if small:
        yield DataIssue(
            "small_class",
            "error" if sum(validated) < k or not all(different[label] for label in small) else "warning",
            f"{count_text(len(small), 'class', 'classes')} with fewer different images than {k} folds",
            f"add images, remove the class{', or lower folds.k' if k > 2 else ''}; `folds` keeps a class of fewer than "
            f"{k} images, or of copies of one, in training (fold -1), and no score counts it",
            remarks=tuple(f"{label}: {different[label]}" for label in small),
        )


def _confound_issues(dataset: Dataset, train: Survey) -> Iterator[DataIssue]:
    for confound in find_confounds(train):
        yield DataIssue(
            confound.kind,
            "warning",
            confound.summary,
            confound.advice,
            tuple(_names(dataset, group.images) for group in confound.groups),
            tuple(group.remark for group in confound.groups),
        )


def _names(dataset: Dataset, images: Iterable[Image]) -> tuple[str, ...]:
    return tuple(_name(dataset, image.path) for image in images)


def _name(dataset: Dataset, path: Path) -> str:
    return path.relative_to(dataset.root).as_posix()


def count_text(count: int, singular: str, plural: str | None = None) -> str:
    """Return a count with its noun: `1 image`, `2 images`, `no images`."""
    return f"{count or 'no'} {singular if count == 1 else plural or singular + 's'}"
