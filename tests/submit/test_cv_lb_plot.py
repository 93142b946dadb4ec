"""The plot of CV against LB shows each number on its own axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comp.records.submission import Competition
from comp.stats import wilson_interval
from comp.submit import cv_lb_plot
from comp.submit.ledger import LedgerEntry
from comp.submit.picks import ImageCounts, Pick
from comp.submit.status import Status


def test_draw_cv_vs_lb_has_cv_across_and_lb_upwards(monkeypatch):
    figures = []
    monkeypatch.setattr(cv_lb_plot, "save_figure", lambda path, figure: figures.append(figure))
    entries = [
        LedgerEntry("both", cv=0.9, cv_low=0.88, cv_high=0.93, public=0.7, private=0.6),
        LedgerEntry("cv only", cv=0.95),
        LedgerEntry("other", cv=0.8, public=0.75),
    ]
    status = Status(
        competition=Competition("cells", "input/cells", "ledger.csv"),
        metric="accuracy",
        entries=entries,
        images=ImageCounts(public=50),
        picks=[Pick(entries[2], "best")],
        final="both",
        final_warning=None,
    )
    assert cv_lb_plot.draw_cv_vs_lb(Path("x.png"), status)
    (axis,) = figures[0].axes
    lines = [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in axis.lines]
    low, high = wilson_interval(0.7, 50)
    assert ([0.88, 0.93], [0.7, 0.7]) in lines
    assert any(x == [0.9, 0.9] and y == pytest.approx([low, high]) for x, y in lines)
    dots = [line for line in axis.lines if line.get_marker() == "o" and line.get_markersize() == 14]
    assert [(*dot.get_xdata(), *dot.get_ydata(), dot.get_color()) for dot in dots] == [
        (0.9, 0.7, cv_lb_plot.DOT),
        (0.8, 0.75, cv_lb_plot.PICKED),
    ]
    texts = {text.get_text(): text.xy for text in axis.texts}
    assert texts == {"1": (0.9, 0.7), "3": (0.8, 0.75), "FINAL: both": (0.9, 0.7), "pick 1: other": (0.8, 0.75)}
    assert axis.get_xlabel().startswith("CV") and axis.get_ylabel().startswith("LB")
