"""CV against LB as a picture: what was promised, what came, and how much of either is noise."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from comp.files import write_atomic
from comp.stats import wilson_interval
from comp.submit.ledger import LedgerEntry
from comp.submit.status import Status

DOT, PICKED, QUIET = "#1b6ca8", "#c8553d", "#9aa0a6"


def draw_cv_vs_lb(path: Path, state: Status) -> bool:
    """Numbers are the table's. False, and no file, where no submission has both scores."""
    points = [
        (number, entry)
        for number, entry in enumerate(state.entries, 1)
        if entry.cv is not None and entry.public is not None
    ]
    if not points:
        return False
    figure = Figure(figsize=(7.5, 6), layout="constrained")
    axis = figure.subplots()
    images = state.images.public if state.metric == "accuracy" else None
    picked = {pick.entry.id: number for number, pick in enumerate(state.picks, 1)}
    for number, entry in points:
        colour = PICKED if entry.id in picked else DOT
        _bars(axis, entry, images, colour)
        _dot(axis, number, entry, colour, is_final=entry.id == state.final)
    _diagonal(axis)
    for _, entry in points:
        if entry.id in picked or entry.id == state.final:
            words = [f"pick {picked[entry.id]}"] if entry.id in picked else []
            words += ["FINAL"] if entry.id == state.final else []
            _label(axis, entry, f"{', '.join(words)}: {_short(entry.id)}", PICKED if entry.id in picked else DOT)
    axis.set_xlabel(f"CV: {state.metric} out of fold (bar: 95 %, bootstrap)")
    axis.set_ylabel(
        f"LB: public score (bar: 95 %, binomial on {images:,} images)"
        if images
        else "LB: public score (no bar: its noise is not known)"
    )
    axis.set_title(
        f"{state.competition.name}: what CV promised and LB said; dashed where they agree", loc="left", fontsize=10
    )
    axis.grid(color="#eef0f2")
    axis.set_axisbelow(True)
    axis.tick_params(length=0, labelsize=9)
    axis.spines[:].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_atomic(path, buffer.getvalue())
    return True


def _bars(axis, entry: LedgerEntry, images: int | None, colour: str) -> None:
    if entry.cv_low is not None:
        axis.plot([entry.cv_low, entry.cv_high], [entry.public] * 2, color=colour, alpha=0.3, linewidth=1.6, zorder=2)
    if images:
        axis.plot(
            [entry.cv] * 2, wilson_interval(entry.public, images), color=colour, alpha=0.3, linewidth=1.6, zorder=2
        )


def _dot(axis, number: int, entry: LedgerEntry, colour: str, is_final: bool) -> None:
    """The number inside, so that neighbours do not write over each other; a ring around the one that counts."""
    if is_final:
        axis.plot(entry.cv, entry.public, "o", markersize=20, markerfacecolor="none", color=colour, zorder=3)
    axis.plot(entry.cv, entry.public, "o", markersize=14, color=colour, markeredgecolor="white", zorder=3)
    axis.annotate(f"{number}", (entry.cv, entry.public), ha="center", va="center", fontsize=7, color="white", zorder=4)


def _label(axis, entry: LedgerEntry, text: str, colour: str) -> None:
    """Towards the middle, so that it stays inside the picture."""
    right = entry.cv > sum(axis.get_xlim()) / 2
    axis.annotate(
        text,
        (entry.cv, entry.public),
        xytext=(-13 if right else 13, 11),
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize=8,
        color=colour,
        zorder=5,
        bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
    )


def _diagonal(axis) -> None:
    """Where LB keeps what CV promised; it does not stretch the picture."""
    low, high = axis.get_xlim()
    bottom, top = axis.get_ylim()
    axis.plot([low, high], [low, high], color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axis.set(xlim=(low, high), ylim=(bottom, top))


def _short(text: str) -> str:
    return text if len(text) <= 32 else f"{text[:31]}…"
