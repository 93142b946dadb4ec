"""A paper's tables as people read them: reported beside measured, what it cost, and what cannot be true."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import numpy as np
from scipy.stats import kendalltau

from comp.papers.results import Protocol, RowResult
from comp.stats import bootstrap_mean_interval

SCORES = {
    "macro_precision": "macro P",
    "macro_recall": "macro R",
    "macro_f1": "macro F1",
    "macro_specificity": "specificity",
    "weighted_precision": "weighted P",
    "weighted_recall": "weighted R",
    "weighted_f1": "weighted F1",
    "log_loss": "log loss",
}


def render(protocol: Protocol, lines: Sequence[RowResult]) -> str:
    how = f"a reduced protocol: {', '.join(protocol.reduced)}" if protocol.reduced else "the paper's own protocol"
    how += f", {protocol.seeds} seed{'s' * (protocol.seeds > 1)}"
    text = [f"# {protocol.paper.capitalize()}'s tables, measured under {how}", ""]
    if protocol.theirs != protocol.ours:
        text += [
            f"**Different data: reported on {', '.join(protocol.theirs)}, measured on {', '.join(protocol.ours)}. "
            f"The two columns are no ranking of each other.**",
            "",
        ]
    machines = sorted({line.measured.machine for line in lines if line.measured})
    text += [
        f"`{protocol.command}`; {'; '.join(machines)}; {time.strftime('%Y-%m-%d')}.",
        "Measured is the kept epoch of a training on the paper's training part, the mean over seeds; the interval "
        "is over the images (bootstrap, 95 %), the deviation over seeds. Best epoch: the highest validation "
        "accuracy of any epoch. In brackets: reported. Against ^: the same images by the row marked ^, which is "
        "reported best of those measured; an interval that holds 0 is noise, and one that does not may still be "
        "the seed's. Parameters are those at the paper's image size, all numbers with running statistics.",
        "",
        *_verdict(lines),
        *_shared_trainings(lines),
        "",
    ]
    for title, part in groupby(lines, key=lambda line: line.row.table):
        text += [f"## {title}", "", *_scores(list(part)), ""]
    once = _unique_by(lines, key=lambda line: line.row.config)
    text += ["## Cost", "", *_costs(once), "", "## F1 of each class", "", *_classes(once), ""]
    doubts: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line.row.doubt:
            doubts.setdefault((line.row.table, line.row.doubt), []).append(line.row.label)
    if doubts:
        text += [
            "## \\* Reported figures that cannot be taken as they stand",
            "",
            *(f"* {title}, {', '.join(labels)}: {doubt}" for (title, doubt), labels in doubts.items()),
            "",
        ]
    return "\n".join(text)


def _shared_trainings(lines: Sequence[RowResult]) -> list[str]:
    """Rows that are different trainings in the paper and one under a reduced protocol."""
    together: dict[str, list[RowResult]] = {}
    for line in _unique_by(lines, key=lambda line: line.row.config):
        together.setdefault(line.config.name, []).append(line)
    return [
        f"* **One training under this protocol: {', '.join(line.row.label for line in same)}.**"
        for same in together.values()
        if len(same) > 1
    ]


def _unique_by(
    lines: Iterable[RowResult], key: Callable[[RowResult], str] = lambda line: line.config.name
) -> list[RowResult]:
    """Rows that share a training, at the first."""
    first: dict[str, RowResult] = {}
    for line in lines:
        first.setdefault(key(line), line)
    return list(first.values())


def _verdict(lines: Sequence[RowResult]) -> list[str]:
    """What the tables say, in numbers: how many rows were met, and whether the order of the rows was."""
    known = _unique_by([line for line in lines if line.difference is not None])
    if not known:
        return ["No row with a reported accuracy is measured yet."]
    met = sum(line.measured.interval[0] <= line.row.reported["accuracy"] <= line.measured.interval[1] for line in known)
    text = [
        f"Models measured and with a reported accuracy: {len(known)}. The reported figure lies inside the interval "
        f"of {met}; the measured one is lower for {sum(line.difference < 0 for line in known)}."
    ]
    for title, part in groupby(lines, key=lambda line: line.row.table):
        rows = _unique_by([line for line in part if line.difference is not None])
        if len(rows) > 2:
            order = kendalltau(
                [line.row.reported["accuracy"] for line in rows], [line.measured.scores["accuracy"] for line in rows]
            )
            best = max(rows, key=lambda line: line.measured.scores["accuracy"])
            tied = [line.row.label for line in rows if line is not best and _gain(best, line)[1] <= 0]
            told = (
                f"{title}: Kendall's tau between the reported and the measured order of {len(rows)} models is "
                f"{order.statistic:.2f} (p {order.pvalue:.2g}); "
                if np.isfinite(order.statistic)
                else f"{title}: "
            )
            text.append(
                f"{told}best measured is {best.row.label}, and within the noise of it {', '.join(tied) or 'none'}."
            )
    return [f"* {line}" for line in text]


def _scores(lines: list[RowResult]) -> list[str]:
    trained = [line for line in lines if line.difference is not None]
    reference = max(trained, key=lambda line: line.row.reported["accuracy"], default=None)
    columns: dict[str, Callable[[RowResult], str]] = {
        "row": lambda line: line.row.label + (" ^" if line is reference else "") + (" \\*" if line.row.doubt else ""),
        "reported": lambda line: _number(line.row.reported.get("accuracy")),
        "accuracy": lambda line: _number(line.measured.scores["accuracy"]),
        "interval": lambda line: "[{:.3f}, {:.3f}]".format(*line.measured.interval),
        "sd": lambda line: _number(line.measured.sd),
        "difference": lambda line: "" if line.difference is None else f"{line.difference:+.4f}",
        "against ^": lambda line: _against(line, reference),
        "best epoch": lambda line: _number(line.measured.best_epoch_score),
        **{
            title: lambda line, name=name: _with_reported(line.measured.scores[name], line.row.reported.get(name))
            for name, title in SCORES.items()
        },
        "scored on": lambda line: (
            f"{line.measured.scored_on}, {len(line.measured.hits)}"
            + (f" x {line.measured.seeds}" if line.measured.seeds > 1 else "")
            + (", which chose the epoch" if line.measured.chosen_there else "")
        ),
    }
    return _render(columns, lines, keep=2)


def _against(line: RowResult, reference: RowResult | None) -> str:
    if (
        reference is None
        or line.config == reference.config
        or set(line.measured.hits.index) != set(reference.measured.hits.index)
    ):
        return ""
    return "{:+.4f} [{:+.3f}, {:+.3f}]".format(*_gain(line, reference))


def _gain(line: RowResult, other: RowResult) -> tuple[float, float, float]:
    """The same images by two models: the mean difference and its paired interval; NaN where they are not the same."""
    gain = line.measured.hits - other.measured.hits  # joined by image id
    return (
        (gain.mean(), *bootstrap_mean_interval(gain.to_numpy())) if not gain.isna().any() else (np.nan, np.nan, np.nan)
    )


def _costs(lines: list[RowResult]) -> list[str]:
    columns: dict[str, Callable[[RowResult], str]] = {
        "model": lambda line: line.row.config,
        "trainable": lambda line: f"{line.size.trainable:,}" if line.size else "",
        "all numbers": lambda line: f"{line.size.total:,}" if line.size else "",
        "reported": lambda line: line.row.parameters,
        "weights MiB": lambda line: (
            _with_reported(line.size.weights_mib, line.row.reported.get("weights_mib"), "{:.2f}") if line.size else ""
        ),
        "MMACs": lambda line: f"{line.size.macs / 1e6:.1f}" if line.size else "",
        "trained here": lambda line: f"{line.measured.parameters:,}",
        "format": lambda line: line.measured.precision,
        "trained s": lambda line: _with_reported(
            line.measured.costs["train_seconds"], line.row.reported.get("train_seconds"), "{:.0f}"
        ),
        "epoch s": lambda line: _with_reported(
            line.measured.costs["epoch_seconds"], line.row.reported.get("epoch_seconds"), "{:.1f}"
        ),
        "first epoch s": lambda line: _with_reported(
            line.measured.costs["first_epoch_seconds"], line.row.reported.get("first_epoch_seconds"), "{:.1f}"
        ),
        "image ms": lambda line: _with_reported(
            line.measured.costs["ms_per_image"], line.row.reported.get("ms_per_image"), "{:.2f}"
        ),
        "peak GB": lambda line: _with_reported(
            line.measured.costs["peak_memory_gb"], line.row.reported.get("peak_memory_gb"), "{:.1f}"
        ),
        "epochs": lambda line: _with_reported(line.measured.costs["epochs"], line.row.reported.get("epochs"), "{:.0f}"),
        "best": lambda line: _with_reported(
            line.measured.costs["best_epoch"], line.row.reported.get("best_epoch"), "{:.0f}"
        ),
    }
    return _render(columns, lines, keep=6)


def _classes(lines: list[RowResult]) -> list[str]:
    trained = [line for line in lines if line.measured]
    if not trained:
        return ["Nothing is trained yet."]
    columns: dict[str, Callable[[RowResult], str]] = {
        "model": lambda line: line.row.config,
        **{
            name: lambda line, name=name: _with_reported(
                line.measured.f1[name], line.row.reported.get(f"f1_{name}"), "{:.3f}"
            )
            for name in trained[0].measured.f1
        },
    }
    return _render(columns, trained, keep=1)


def _render(columns: dict[str, Callable[[RowResult], str]], lines: Sequence[RowResult], keep: int) -> list[str]:
    """Of a row that is not trained only the first `keep` cells can be known."""
    rows = []
    for line in lines:
        if line.measured:
            rows.append([cell(line) for cell in columns.values()])
        else:
            known = [cell(line) for cell in list(columns.values())[:keep]]
            rows.append([*known, line.failed or "not trained", *[""] * (len(columns) - keep - 1)])
    return [f"| {' | '.join(each)} |" for each in [list(columns), ["---"] * len(columns), *rows]]


def _number(value: float | None, form: str = "{:.4f}") -> str:
    return "" if value is None else form.format(value)


def _with_reported(measured: float, reported: float | None, form: str = "{:.4f}") -> str:
    return form.format(measured) + ("" if reported is None else f" ({form.format(reported)})")
