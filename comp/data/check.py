"""What is wrong or suspicious with a dataset, as a list of findings that name their files and a way out."""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from comp.data.confounds import find_confounds
from comp.data.duplicates import DuplicatePair, connected_groups, find_duplicates
from comp.data.image_stats import Survey, survey
from comp.data.scan import Dataset, Image

MAX_CASES, MAX_FILES = 20, 4  # of one finding on the screen, and files on one line; the JSON has all


@dataclass(frozen=True)
class DataIssue:
    """One kind of trouble. `files` holds a tuple per case (copies together), `remarks` a text for each."""

    kind: str
    severity: Literal["error", "warning"]
    summary: str
    advice: str
    files: tuple[tuple[str, ...], ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetReport:
    dataset: str
    classes: dict[str, int]
    test: int
    findings: tuple[DataIssue, ...]

    @property
    def exit_code(self) -> int:
        return int(any(finding.severity == "error" for finding in self.findings))

    def to_json(self) -> dict:
        return {**asdict(self), "exit_code": self.exit_code}


def check_dataset(dataset: Dataset, k: int) -> DatasetReport:
    """Open every image once and report what a split into `k` folds, a training or a score would suffer by."""
    seen = survey(dataset.train + dataset.test)
    groups = _groups_of_copies(seen, find_duplicates(seen))
    train = seen.rows([image.label is not None for image in seen.images])
    findings = [
        *_unreadable(dataset, seen),
        *_not_images(dataset),
        *_copies(dataset, groups),
        *_small_classes(dataset, train, groups, k),
        *_confounds(dataset, train),
    ]
    findings.sort(key=lambda finding: finding.severity)  # errors first; the sort keeps the order otherwise
    counts = Counter(image.label for image in dataset.train)
    classes = {name: counts[name] for name in dataset.classes}
    return DatasetReport(dataset.name, classes, len(dataset.test), tuple(findings))


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that show one picture: which, with which pixels, and the pairs that say so."""

    images: tuple[Image, ...]
    sha256: dict[Image, str]
    pairs: tuple[DuplicatePair, ...]

    def among(self, images: Iterable[Image]) -> DuplicateGroup:
        wanted = dict.fromkeys(images)
        pairs = tuple(pair for pair in self.pairs if pair.a in wanted and pair.b in wanted)
        return DuplicateGroup(tuple(wanted), self.sha256, pairs)

    @property
    def exact(self) -> bool:
        return len({self.sha256[image] for image in self.images}) == 1

    @property
    def remark(self) -> str:
        near = [pair for pair in self.pairs if pair.kind == "near"]
        if self.exact or not near:
            return ""
        worst = min(near, key=lambda pair: pair.similarity)
        return ", ".join(filter(None, [f"similarity {worst.similarity:.3f}", worst.transform]))


def _groups_of_copies(seen: Survey, pairs: list[DuplicatePair]) -> list[DuplicateGroup]:
    sha256 = dict(zip(seen.images, seen.sha256, strict=True))
    members, links = defaultdict(list), defaultdict(list)
    number = dict(zip(seen.images, connected_groups(seen.images, pairs), strict=True))
    for image in seen.images:
        members[number[image]].append(image)
    for pair in pairs:
        links[number[pair.a]].append(pair)
    return [DuplicateGroup(tuple(members[n]), sha256, tuple(links[n])) for n in links]


def _unreadable(dataset: Dataset, seen: Survey) -> Iterator[DataIssue]:
    if seen.broken:
        yield DataIssue(
            "unreadable",
            "error",
            f"{_count(len(seen.broken), 'image')} cannot be read in full",
            "fetch these files again, or delete them",
            tuple((_name(dataset, image.path),) for image, _ in seen.broken),
            tuple(why for _, why in seen.broken),
        )


def _not_images(dataset: Dataset) -> Iterator[DataIssue]:
    known = {image.path for image in dataset.train + dataset.test}
    below = [path for part in ("train", "test") for path in sorted((dataset.root / part).rglob("*"))]
    stray = [
        path
        for path in below
        if path.is_file()
        and path not in known
        and not any(part.startswith(".") for part in path.relative_to(dataset.root).parts)
    ]
    if stray:
        yield DataIssue(
            "not_images",
            "warning",
            f"{_count(len(stray), 'file')} beside the images, not used",
            "move them away; if they are images, their suffix or their place is wrong",
            tuple((_name(dataset, path),) for path in stray),
        )


def _copies(dataset: Dataset, groups: list[DuplicateGroup]) -> Iterator[DataIssue]:
    """Four ways in which copies do harm; a group that does several is named in each."""
    conflicts, leaks, within, tests = [], [], [], []
    for group in groups:
        by_label = defaultdict(list)
        for image in group.images:
            by_label[image.label].append(image)
        test = by_label.pop(None, [])
        train = [image for images in by_label.values() for image in images]
        conflicts += [group.among(train)] * (len(by_label) > 1)
        leaks += [group] * bool(train and test)
        within += [group.among(images) for images in by_label.values() if len(images) > 1]
        tests += [group.among(test)] * (len(test) > 1)
    yield from _exact_and_near(
        dataset,
        "conflicting_labels",
        "error",
        conflicts,
        "under two labels",
        "keep the copy under the right label and delete the other",
    )
    yield from _exact_and_near(
        dataset,
        "train_in_test",
        "error",
        leaks,
        "both in train and in test",
        "delete the training copy: a score on that test image would be a score of memory",
    )
    yield from _exact_and_near(
        dataset,
        "duplicates",
        "warning",
        within,
        "repeated within a class",
        "nothing must be done: `folds` keeps copies in one fold, and they cannot flatter a score",
    )
    yield from _exact_and_near(
        dataset,
        "test_duplicates",
        "warning",
        tests,
        "repeated within test",
        "nothing must be done: the copy just counts twice",
    )


def _exact_and_near(
    dataset: Dataset, kind: str, severity: str, groups: list[DuplicateGroup], where: str, advice: str
) -> Iterator[DataIssue]:
    """One finding for copies with the same pixels, one for those turned, mirrored, re-encoded or resized."""
    exact, near = [g for g in groups if g.exact], [g for g in groups if not g.exact]
    for prefix, how, chosen in (("", "pixel for pixel", exact), ("near_", "nearly, or turned", near)):
        if chosen:
            summary = f"{_count(len(chosen), 'picture')} {where} ({how})"
            yield DataIssue(
                prefix + kind,
                severity,
                summary,
                advice,
                tuple(_names(dataset, group.images) for group in chosen),
                tuple(group.remark for group in chosen),
            )


def _small_classes(dataset: Dataset, train: Survey, groups: list[DuplicateGroup], k: int) -> Iterator[DataIssue]:
    """Copies share a fold, so a class needs `k` different readable pictures to be in every fold."""
    different = Counter(image.label for image in train.images)
    for group in groups:
        for label, count in Counter(image.label for image in group.images).items():
            different[label] -= count - 1
    small = [name for name in dataset.classes if different[name] < k]
    if small:
        yield DataIssue(
            "small_class",
            "error",
            f"{_count(len(small), 'class', 'classes')} with fewer different images than {k} folds",
            "add images, remove the class, or lower folds.k",
            remarks=tuple(f"{name}: {different[name]}" for name in small),
        )


def _confounds(dataset: Dataset, train: Survey) -> Iterator[DataIssue]:
    for found in find_confounds(train):
        kind = f"confound_{found.property.lower().replace(' ', '_')}"
        yield DataIssue(
            kind,
            "warning",
            found.summary,
            found.advice,
            tuple(_names(dataset, images) for _, images in found.batches),
            tuple(remark for remark, _ in found.batches),
        )


def format_report(report: DatasetReport) -> str:
    """The report for a terminal: classes and counts, the findings with their files, a closing line."""
    classes = "  ".join(f"{name} {count}" for name, count in report.classes.items())
    train = sum(report.classes.values())
    lines = [
        f"{report.dataset}: {_count(train, 'training image')} in {len(report.classes)} classes, "
        f"{_count(report.test, 'test image')}",
        *_wrapped(classes),
    ]
    for finding in report.findings:
        lines += [
            "",
            f"{finding.severity}: {finding.summary}",
            *_cases(report, finding),
            *_wrapped(f"-> {finding.advice}"),
        ]
    severities = Counter(finding.severity for finding in report.findings)
    errors, warnings = (_count(severities[one], one) for one in ("error", "warning"))
    return "\n".join([*lines, "", f"{errors}, {warnings}"])


def _cases(report: DatasetReport, finding: DataIssue) -> Iterator[str]:
    cases = list(zip_longest(finding.files, finding.remarks, fillvalue=""))
    for names, remark in cases[:MAX_CASES]:
        more = [f"and {len(names) - MAX_FILES} more"] if len(names) > MAX_FILES else []
        shown = ", ".join([*names[:MAX_FILES], *more])
        if more:
            yield from [*_wrapped(remark), *_wrapped(shown, indent=4)]
        else:
            yield f"  {shown} ({remark})" if shown and remark else f"  {shown or remark}"
    if len(cases) > MAX_CASES or any(len(names) > MAX_FILES for names, _ in cases):
        beyond = max(0, len(cases) - MAX_CASES)
        yield f"  {f'and {beyond} more, see' if beyond else 'all files:'} runs/checks/{report.dataset}.json"


def _wrapped(text: str, indent: int = 2) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(text, 110, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)


def _names(dataset: Dataset, images: Iterable[Image]) -> tuple[str, ...]:
    return tuple(_name(dataset, image.path) for image in images)


def _name(dataset: Dataset, path: Path) -> str:
    return path.relative_to(dataset.root).as_posix()


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number or 'no'} {one if number == 1 else many or one + 's'}"
