"""The curves of a training: loss, score, learning rate and speed of each epoch, a line per fold."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from comp.figures import SERIES, TEXT, new_figure, style_axis
from comp.files import file_exists
from comp.records.base import Fold
from comp.report.section import Figure, Finding, Section
from comp.report.source import Source, possible_folds
from comp.runs import Run
from comp.tables import HISTORY_COLUMNS, read_csv
from comp.text import format_metric

FIRST_COLUMNS = HISTORY_COLUMNS[:1]  # older versions wrote fewer of the later ones


def build(source: Source) -> Section | None:
    run = source.run
    histories = read_histories(run) if run else {}
    if run is None or not histories:
        return None
    metric = format_metric(run.record.metric)
    panels = {
        "loss": ("loss", ("train_loss", "val_loss"), "Loss of each epoch; dashed: training (with augmentation)"),
        "curve": (metric, ("val_score",), f"The {metric} of each epoch on the validation images"),
        "lr": ("learning rate", ("lr",), "Learning rate at the end of each epoch; colours as above"),
        "speed": ("images/s", ("images_per_second",), "Training images per second; colours as above"),
    }
    count = f"{len(histories)} fold{'s' * (len(histories) > 1)}"
    figures = [
        Figure(f"{name}s" if name == "curve" else name, _draw(histories, label, columns), f"{caption} (n = {count})")
        for name, (label, columns, caption) in panels.items()
        if any(history[column].notna().any() for history in histories.values() for column in columns)
    ]
    memory = max(float(history["peak_memory_gb"].max()) for history in histories.values())
    values = {"names": [figure.name for figure in figures], "memory": memory}
    findings = _findings(histories) if source.oof else _progress(histories, run)
    return Section("Training", "training", "curves.html", values, tuple(figures), tuple(findings))


def read_histories(run: Run) -> dict[Fold, pd.DataFrame]:
    """Return the table of epochs of each fold that has one; the columns that an older version lacked are empty."""
    histories: dict[Fold, pd.DataFrame] = {}
    for fold in possible_folds(run):
        path = run.fold_dir(fold).path / "history.csv"
        if not file_exists(path):
            continue
        table = read_csv(path, FIRST_COLUMNS, text_columns=()).reindex(columns=HISTORY_COLUMNS)
        if len(table):
            histories[fold] = table.apply(pd.to_numeric, errors="coerce")
    return histories


def _draw(histories: dict[Fold, pd.DataFrame], label: str, columns: tuple[str, ...]) -> Drawing:
    figure = new_figure(4.5, 2.7)
    axis = figure.subplots()
    for colour, (fold, history) in zip(SERIES * len(histories), histories.items(), strict=False):
        for column in columns:
            is_train = column == "train_loss"
            style = {"linestyle": "--", "linewidth": 0.9} if is_train else {"linewidth": 1.5}
            marker = "o" if len(history) == 1 else None
            axis.plot(
                history["epoch"],
                history[column],
                color=colour,
                marker=marker,
                label=None if is_train else f"fold {fold}",
                **style,
            )
    if label in ("learning rate", "loss"):
        _limit(axis, histories, columns)
    axis.set_ylabel(label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    style_axis(axis, label="epoch", grid="both")
    if len(histories) > 1 and label not in ("learning rate", "images/s"):
        handles, labels = axis.get_legend_handles_labels()
        if "train_loss" in columns:
            handles.append(Line2D([], [], color=TEXT, linestyle="--", linewidth=0.9))
            labels.append("training")
        axis.legend(handles, labels, fontsize=6.5, ncols=2)
    return figure


def _limit(axis: Axes, histories: dict[Fold, pd.DataFrame], columns: tuple[str, ...]) -> None:
    """Cut off the first epochs' losses where they would flatten the others: the axis ends at 1.5 times the 90th
    percentile."""
    values = pd.concat([history[column] for history in histories.values() for column in columns]).dropna()
    top = 1.5 * values.quantile(0.9)
    axis.set_ylim(0, min(top, 1.05 * values.max()))


def _progress(histories: dict[Fold, pd.DataFrame], run: Run) -> list[Finding]:
    """Return how far each fold is, while none is done."""
    findings = []
    for fold, history in histories.items():
        last = history.iloc[-1]
        score = f": {format_metric(run.record.metric)} {last['val_score']:.4f}" if pd.notna(last["val_score"]) else ""
        findings.append(Finding("good", f"Fold {fold}, epoch {last['epoch']:.0f} of {run.config.train.epochs}{score}"))
    return findings


def _findings(histories: dict[Fold, pd.DataFrame]) -> list[Finding]:
    """Return whether the validation loss still fell at the end, or rose for a while."""
    last = [history["val_loss"].dropna().to_numpy() for history in histories.values()]
    last = [losses for losses in last if len(losses) >= 5]
    rising = sum(bool(losses[-1] > 1.1 * losses.min()) for losses in last)
    if rising and rising > len(last) / 2:
        text = f"The validation loss ends more than 10 % above its lowest in {rising} of {len(last)} folds: overfitting"
        return [Finding("wrong", text, "notice")]
    return []
