"""The tables of table.md: scores, costs, and F1 of each class. Reported numbers are in brackets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from comp.papers.model_sizes import ModelSize
from comp.papers.results import RowResult, TrainedRow, UntrainedRow
from comp.stats import bootstrap_mean_interval

Cell = Callable[[RowResult], str]
TrainedCell = Callable[[TrainedRow], str]

SCORE_COLUMNS = {  # metric -> heading
    "macro_precision": "macro P",
    "macro_recall": "macro R",
    "macro_f1": "macro F1",
    "macro_specificity": "specificity",
    "weighted_precision": "weighted P",
    "weighted_recall": "weighted R",
    "weighted_f1": "weighted F1",
    "log_loss": "log loss",
}
COST_COLUMNS = {  # cost -> heading and format
    "train_seconds": ("trained s", "{:.0f}"),
    "epoch_seconds": ("epoch s", "{:.1f}"),
    "first_epoch_seconds": ("first epoch s", "{:.1f}"),
    "ms_per_image": ("image ms", "{:.2f}"),
    "peak_memory_gb": ("peak GB", "{:.1f}"),
    "epochs": ("epochs", "{:.0f}"),
    "best_epoch": ("best", "{:.0f}"),
}


def score_table(results: Sequence[RowResult]) -> list[str]:
    """Return the lines of the table of scores."""
    comparable = [result for result in results if isinstance(result, TrainedRow) and result.has_reported_accuracy]
    reference = max(comparable, key=lambda row: row.row.reported["accuracy"], default=None)

    def label(result: RowResult) -> str:
        return result.row.label + (" ^" if result is reference else "") + (" \\*" if result.row.caveat else "")

    return _table(
        {"row": label, "reported": lambda result: _format(result.row.reported.get("accuracy"))},
        {
            "accuracy": lambda row: _format(row.accuracy),
            "interval": lambda row: "[{:.3f}, {:.3f}]".format(*row.measured.interval),
            "sd": lambda row: _format(row.measured.sd),
            "difference": lambda row: _format(row.difference, "{:+.4f}"),
            "against ^": lambda row: _format_gain(row, reference),
            "best epoch": lambda row: _format(row.measured.best_epoch_score),
            **{heading: _score_cell(metric) for metric, heading in SCORE_COLUMNS.items()},
            "scored on": _scored_on,
        },
        results,
    )


def cost_table(results: Sequence[RowResult]) -> list[str]:
    """Return the lines of the table of sizes and costs."""
    return _table(
        {
            "model": lambda result: result.row.config,
            "trainable": _size_cell(lambda size: f"{size.trainable:,}"),
            "all numbers": _size_cell(lambda size: f"{size.total:,}"),
            "reported": lambda result: result.row.parameters,
            "weights MiB": _weights_mib,
            "MMACs": _size_cell(lambda size: f"{size.macs / 1e6:.1f}"),
        },
        {
            "trained here": lambda row: f"{row.measured.parameters:,}",
            "format": lambda row: row.measured.precision,
            **{heading: _cost_cell(cost, form) for cost, (heading, form) in COST_COLUMNS.items()},
        },
        results,
    )


def class_table(results: Sequence[RowResult]) -> list[str]:
    """Return the lines of the table of F1 per class."""
    trained = [result for result in results if isinstance(result, TrainedRow)]
    if not trained:
        return ["Nothing is trained yet."]
    return _table(
        {"model": lambda result: result.row.config},
        {label: _f1_cell(label) for label in trained[0].measured.f1},
        trained,
    )


def paired_gain(a: TrainedRow, b: TrainedRow) -> tuple[float, float, float]:
    """Return the mean gain of `a` over `b` per image and its 95 % interval; NaN if they were scored on other images."""
    gain = a.measured.correct - b.measured.correct  # joined by image id
    if gain.isna().any():
        return np.nan, np.nan, np.nan
    return float(gain.mean()), *bootstrap_mean_interval(gain.to_numpy())


def _table(
    columns: dict[str, Cell], trained_columns: dict[str, TrainedCell], results: Sequence[RowResult]
) -> list[str]:
    """Return the lines of a table; a row that is not trained has its error in place of the trained columns."""
    headings = [*columns, *trained_columns]
    rows = []
    for result in results:
        cells = [cell(result) for cell in columns.values()]
        if isinstance(result, TrainedRow):
            cells += [trained_cell(result) for trained_cell in trained_columns.values()]
        else:
            error = result.error if isinstance(result, UntrainedRow) else None
            cells += [error or "not trained", *[""] * (len(trained_columns) - 1)]
        rows.append(cells)
    return [f"| {' | '.join(cells)} |" for cells in [headings, ["---"] * len(headings), *rows]]


def _scored_on(row: TrainedRow) -> str:
    """Return which images a row was scored on, their number, and whether they also chose the epoch."""
    measured = row.measured
    seeds = f" x {measured.seeds}" if measured.seeds > 1 else ""
    chosen = ", which chose the epoch" if measured.epoch_chosen_on_scored_images else ""
    return f"{measured.scored_on}, {len(measured.correct)}{seeds}{chosen}"


def _format_gain(row: TrainedRow, reference: TrainedRow | None) -> str:
    if reference is None or row.config == reference.config:
        return ""
    if set(row.measured.correct.index) != set(reference.measured.correct.index):
        return ""
    return "{:+.4f} [{:+.3f}, {:+.3f}]".format(*paired_gain(row, reference))


def _score_cell(metric: str) -> TrainedCell:
    return lambda row: _with_reported(row.measured.scores[metric], row.row.reported.get(metric))


def _cost_cell(cost: str, form: str) -> TrainedCell:
    return lambda row: _with_reported(row.measured.costs[cost], row.row.reported.get(cost), form)


def _f1_cell(label: str) -> TrainedCell:
    return lambda row: _with_reported(row.measured.f1[label], row.row.reported.get(f"f1_{label}"), "{:.3f}")


def _size_cell(form: Callable[[ModelSize], str]) -> Cell:
    return lambda result: form(result.model_size) if result.model_size else ""


def _weights_mib(result: RowResult) -> str:
    size = result.model_size
    return _with_reported(size.weights_mib, result.row.reported.get("weights_mib"), "{:.2f}") if size else ""


def _format(value: float | None, form: str = "{:.4f}") -> str:
    return "" if value is None else form.format(value)


def _with_reported(measured: float, reported: float | None, form: str = "{:.4f}") -> str:
    return form.format(measured) + ("" if reported is None else f" ({form.format(reported)})")
