"""Choose the metric, and the form in which answers are written."""

from __future__ import annotations

from comp.data.adopt.evidence import Sample
from comp.data.adopt.labelling import Labelling
from comp.data.adopt.options import AdoptOptions, Finding, Findings
from comp.data.adopt.targets import Target, answers_per_row
from comp.errors import UserError
from comp.metrics import METRICS, find_metric
from comp.tasks import TASKS


def find_metric_and_answer(
    options: AdoptOptions, labelling: Labelling, target: Target, sample: Sample | None, findings: Findings
) -> tuple[str, str | None]:
    """Return the metric, and the form of answers where the metric does not settle it."""
    listed_labels = _labels_per_row(labelling, target, sample)
    metric = options.metric or _default_metric(labelling, target, sample, listed_labels)
    chosen = find_metric(metric)
    form = TASKS[target.task].form
    if form not in chosen.computations:
        suitable = [name for name, known in METRICS.items() if form in known.computations]
        raise UserError(f"--metric {metric} is none of a {target.task} task; choose of {', '.join(suitable)}")
    findings.append(
        Finding(
            "train.metric",
            metric,
            "as typed" if options.metric else "ASSUMED, because no file names it: add --metric NAME for another",
        )
    )
    answer = options.answer
    if answer is None and listed_labels > 1 and chosen.places != listed_labels:
        answer = f"best:{listed_labels}"
    return metric, answer


def _labels_per_row(labelling: Labelling, target: Target, sample: Sample | None) -> int:
    if sample is None or target.task != "single" or len(sample.targets) != 1:
        return 0
    return answers_per_row(sample, set(labelling.values))


def _default_metric(labelling: Labelling, target: Target, sample: Sample | None, listed_labels: int) -> str:
    """Return the metric that is assumed: the task's default, or one that can score what the sample holds."""
    if f"map@{listed_labels}" in METRICS:
        return f"map@{listed_labels}"
    if sample is not None and len(sample.targets) > 1:
        return {"multilabel": "auc", "single": "log_loss"}.get(target.task, TASKS[target.task].default_metric)
    is_labels = sample is not None and set(sample.rows.iloc[:, 1]) <= set(labelling.values)
    if target.task == "binary" and is_labels and not set(labelling.values) <= {"0", "1"}:
        return "accuracy"
    return TASKS[target.task].default_metric
