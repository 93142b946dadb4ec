"""Choose the kind of target: several columns, tags, two values, names or numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from comp.data.adopt.evidence import Evidence, Sample
from comp.data.adopt.labelling import Labelling
from comp.data.adopt.options import NONE, AdoptOptions, Finding, Findings, ambiguous, listed, quoted
from comp.data.scan import CLASS_MAP
from comp.errors import UserError, did_you_mean, shorten
from comp.metrics import METRICS
from comp.records.task import TaskKind

SEPARATORS = (" ", "|", ";", ",")
MAX_GRADES = 20
YES = {"1", "yes", "true", "positive", "malignant", "abnormal"}
NO = {"0", "no", "false", "negative", "benign", "normal"}
ID_NAME = re.compile("(id|ids|class|category|species|breed)$")


@dataclass(frozen=True)
class Target:
    """The kind of target, and what reading it needs."""

    task: TaskKind
    separator: str | None = None
    positive: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Reading:
    task: TaskKind
    evidence: str


def find_target(
    evidence: Evidence, options: AdoptOptions, labelling: Labelling, sample: Sample | None, findings: Findings
) -> Target:
    """Return the kind of target that labels and sample leave possible; several are an error that names them."""
    separator = None
    if len(labelling.label) > 1:
        reading = _read_columns(options, labelling)
    else:
        separator = _find_separator(options, labelling, findings)
        reading = _read_values(evidence, options, labelling, sample, separator)
    task = options.task or reading.task
    findings.append(Finding("data.task", task, reading.evidence if task == reading.task else "as typed"))
    positive: tuple[str, ...] = ()
    if task == "binary":
        positive = _find_positive(options, labelling, sample, findings)
    elif options.positive:
        raise UserError(f"--positive is for --task binary, and the task is {task}; remove one")
    return Target(task, separator, positive)  # type: ignore[arg-type]


def _read_columns(options: AdoptOptions, labelling: Labelling) -> _Reading:
    assert labelling.rows is not None, "several columns are those of a table"
    values = labelling.rows[list(labelling.label)].apply(pd.to_numeric, errors="coerce")
    if not values.isin([0, 1]).all(axis=None):
        is_shares = bool(((values >= 0) & (values % 1 != 0)).any(axis=None) or (values > 1).any(axis=None))
        kind = "shares, votes or several numbers per image, which no task takes" if is_shares else "texts or gaps"
        raise UserError(
            f"the columns {listed(labelling.label, 3)} hold {kind}; columns of labels hold 0 and 1 (--label)"
        )
    sums = values.sum(axis=1)
    if (sums == 1).all():
        return _Reading("single", f"a column per class, exactly one 1 in each of {len(sums):,} rows")
    counts = Counter(int(count) for count in sums)
    shown = ", ".join(f"{rows:,} rows with {ones}" for ones, rows in sorted(counts.items())[:4])
    return _Reading("multilabel", f"columns of 0 and 1: {shown}")


def _find_separator(options: AdoptOptions, labelling: Labelling, findings: Findings) -> str | None:
    """Return the text between tags; None where labels are one value each."""
    if options.separator == NONE or options.task not in (None, "multilabel") or labelling.table is None:
        return None
    if options.separator is not None:
        findings.append(Finding("data.separator", repr(options.separator), "as typed"))
        return options.separator
    labels = Counter(labelling.values)
    for separator in SEPARATORS:
        several = [label for label in labels if len(_parts(label, separator)) > 1]
        if not several:
            continue
        parts = Counter(part for label in labels for part in set(_parts(label, separator)))
        shared = [part for label in several for part in _parts(label, separator)]
        recurring = sum(parts[part] > 1 for part in shared) / len(shared)
        alone = any(label in parts and parts[label] > 1 for label in labels)
        numbers = all(part.isdecimal() for part in parts)
        shown = f"such as {listed(several, 2)}"
        if (recurring >= 0.9 and alone) or (numbers and options.task != "single"):
            text = f"{len(parts):,} tags in {len(labels):,} combinations, {shown}"
            findings.append(Finding("data.separator", repr(separator), text))
            return separator
        if recurring > 0.5:
            raise ambiguous(
                f"the {labels.total():,} labels, {shown}, may be tags or names with {separator!r} in them: "
                f"{recurring:.0%} of the parts recur in other labels",
                f"--separator {quoted(separator)}",
                f"--separator {NONE}",
            )
    return None


def _parts(label: str, separator: str) -> list[str]:
    return [part.strip() for part in label.split(separator) if part.strip()]


def _read_values(
    evidence: Evidence, options: AdoptOptions, labelling: Labelling, sample: Sample | None, separator: str | None
) -> _Reading:
    """Return the kind of target of one column, class folders or names."""
    values = Counter(labelling.values)
    names = listed((f"{name} ({count:,})" for name, count in values.most_common()), 4)
    if separator is not None:
        return _Reading("multilabel", f"tags, joined by {separator!r}")
    if len(values) < 2:
        raise UserError(f"all images have the label {next(iter(values), '')}; two or more are needed (--label)")
    is_column_each = sample is not None and set(sample.targets) == set(values)
    if is_column_each:
        return _Reading("single", f"the sample has a column for each: {names}")
    if len(values) == 2 or options.positive:
        return _Reading("binary", f"{len(values)} values: {names}")
    numbers = [_number(value) for value in values]
    if None in numbers and sample is not None and _is_filled_with_numbers(sample) and options.task is None:
        first, last = sorted(values)[0], sorted(values)[-1]
        raise ambiguous(
            f"the {len(values):,} classes have names ({names}), and the sample holds numbers, such as "
            f"{sample.first_answer}: the probability of some classes, or positions of classes in a class_map.json",
            f"--positive {quoted(last)} (repeated for all but {first}, say)",
            "--task single",
        )
    has_numbers = (evidence.root / CLASS_MAP).is_file()
    if None in numbers and sample is not None and _is_filled_with_numbers(sample) and not has_numbers:
        raise UserError(
            f"the {len(values):,} classes have names ({names}), and the sample holds numbers, such as "
            f"{sample.first_answer}; add {evidence.root / CLASS_MAP} with the number of each class"
        )
    if labelling.table is None or None in numbers:
        return _Reading("single", f"{len(values):,} classes: {names}")
    return _read_numbers(evidence, options, labelling, sample, values, [n for n in numbers if n is not None])


def _read_numbers(
    evidence: Evidence,
    options: AdoptOptions,
    labelling: Labelling,
    sample: Sample | None,
    values: Counter[str],
    numbers: Sequence[float],
) -> _Reading:
    """Return the kind of target of numbers: grades, numbers of classes, or quantities."""
    assert labelling.table is not None, "numbers are those of a table"
    low, high = min(numbers), max(numbers)
    shown = f"{len(values):,} numbers from {low:g} to {high:g}"
    if any(number % 1 for number in numbers):
        return _Reading("regression", f"{shown}, not all of them whole")
    if named := next((path for path, names in evidence.name_maps.items() if set(values) <= set(names)), None):
        return _Reading("single", f"{shown}, which {named} gives names")
    if labelling.table.has_names:
        return _Reading("single", f"{shown}, which its categories give names")
    column = labelling.label[0]
    if sample is not None and answers_per_row(sample, set(values)) > 1:
        return _Reading("single", f"{shown}; the sample lists several per image")
    if sample is not None and any("." in text for text in sample.rows.iloc[:, 1]):
        return _Reading("regression", f"{shown}, and the sample holds {shorten(sample.first_answer)}")
    if options.metric in METRICS and "numbers" in METRICS[options.metric].computations:
        return _Reading("regression", f"{shown}, scored by {options.metric}")
    if options.metric == "quadratic_kappa":
        return _Reading("ordinal", f"{shown}, scored by {options.metric}")
    has_gaps = high - low > 10 * len(values)
    is_consecutive = high - low == len(values) - 1
    if has_gaps or (ID_NAME.search(column.lower()) and (len(values) > MAX_GRADES or not is_consecutive)):
        return _Reading("single", f"{shown}: numbers of classes (--task regression if not)")
    if len(values) > MAX_GRADES and high - low < 2 * len(values):
        return _Reading("regression", f"{shown}, most of them (--task single if they are classes)")
    if options.task is None:
        raise ambiguous(
            f"{column} has the whole numbers {listed(map('{:g}'.format, sorted(numbers)), 6)}, which may be names of "
            f"classes, grades or quantities",
            "--task single",
            "--task ordinal",
            "--task regression",
        )
    return _Reading("single", "")


def answers_per_row(sample: Sample, labels: set[str]) -> int:
    """Return how many labels each row of the sample lists, joined by spaces; 0 if it lists none."""
    rows = sample.rows.iloc[:, 1].head(100).tolist()
    counts = {len(row.split(" ")) for row in rows}
    has_spaces = any(" " in label for label in labels)
    return counts.pop() if len(counts) == 1 and not has_spaces and "" not in rows else 0


def _is_filled_with_numbers(sample: Sample) -> bool:
    return len(sample.targets) == 1 and all(_number(text) is not None for text in sample.rows.iloc[:, 1])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _find_positive(
    options: AdoptOptions, labelling: Labelling, sample: Sample | None, findings: Findings
) -> tuple[str, ...]:
    """Return the labels that mean yes; empty where 1 does, or where the sample takes the labels themselves."""
    counts = Counter(labelling.values)
    values = sorted(counts)
    if options.positive:
        if unknown := [value for value in options.positive if value not in counts]:
            raise UserError(f"no image has the label {unknown[0]}{did_you_mean(unknown[0], counts)} (--positive)")
        share = sum(counts[value] for value in options.positive) / counts.total()
        findings.append(Finding("data.positive", listed(options.positive), f"as typed; {share:.1%} of the images"))
        return options.positive
    if len(values) != 2:
        raise UserError(f"--task binary needs --positive LABEL: which of {listed(values)} mean yes")
    yes = [value for value in values if value.lower() in YES]
    no = [value for value in values if value.lower() in NO]
    column = sample.targets[0].lower() if sample is not None and len(sample.targets) == 1 else ""
    named = [value for value in values if value.lower() in re.split("[^a-z0-9]+", column)]
    if len(yes) == 1 and len(no) == 1:
        share = counts[yes[0]] / counts.total()
        findings.append(Finding("data.positive", yes[0], f"{share:.1%} of the images; {no[0]} is no"))
        return () if yes[0] == values[1] else (yes[0],)
    if len(named) == 1:
        findings.append(Finding("data.positive", named[0], f"the sample's column is {column}"))
        return (named[0],)
    if sample is not None and set(sample.rows.iloc[:, 1]) <= set(values):
        findings.append(Finding("data.positive", "none needed", "the sample takes the labels themselves"))
        return ()
    raise ambiguous(
        f"of the labels {' and '.join(values)} either may be the one whose probability is submitted",
        *(f"--positive {quoted(value)}" for value in values),
    )
