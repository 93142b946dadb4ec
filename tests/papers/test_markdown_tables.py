"""The comparisons of a paper's page, on rows of invented scores."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from comp.papers.markdown import _order_summary, _summary
from comp.papers.markdown_tables import paired_gain, score_table
from comp.papers.results import TrainedRow
from comp.schema import Config


def make_row(label: str, correct: int, reported: float, ids: str = "image") -> TrainedRow:
    """Return a row whose model predicts the first `correct` of 100 images correctly."""
    images = pd.Series(np.arange(100) < correct, [f"{ids}{index}" for index in range(100)]).astype(float)
    measured = SimpleNamespace(
        correct=images,
        scores=dict.fromkeys(
            ("macro_precision", "macro_recall", "macro_f1", "macro_specificity", "weighted_precision"), 0.5
        )
        | dict.fromkeys(("weighted_recall", "weighted_f1", "log_loss"), 0.5)
        | {"accuracy": correct / 100},
        interval=(correct / 100 - 0.05, correct / 100 + 0.05),
        sd=None,
        best_epoch_score=0.99,
        seeds=1,
        scored_on="validation",
        epoch_chosen_on_scored_images=False,
    )
    printed = SimpleNamespace(table="Table 1", label=label, config=label, reported={"accuracy": reported}, caveat="")
    return TrainedRow(printed, Config(name=label), Config(name=label), measured)


GOOD, FAIR, BAD = make_row("good", 90, 0.8), make_row("fair", 88, 0.9), make_row("bad", 40, 0.39)


def test_paired_gain_is_positive_where_the_first_row_is_better_and_nan_on_other_images():
    gain, low, high = paired_gain(GOOD, BAD)
    assert gain == pytest.approx(0.5) and 0 < low < 0.5 < high
    assert paired_gain(BAD, GOOD)[0] == pytest.approx(-0.5)
    assert np.isnan(paired_gain(GOOD, make_row("other", 90, 0.8, ids="other"))).all()


def test_summary_counts_reported_accuracies_inside_and_above_the_measured_ones():
    lines = _summary([GOOD, FAIR, BAD])
    # good: 0.80 is below 0.85..0.95; fair: 0.90 is inside 0.83..0.93, measured lower; bad: 0.39 is inside 0.35..0.45
    assert lines[0] == (
        "* Models measured and with a reported accuracy: 3. The reported number is inside the interval of 2; the "
        "measured one is lower for 1."
    )


def test_order_summary_compares_the_orders_and_names_what_is_as_good_as_the_best():
    text = _order_summary([GOOD, FAIR, BAD])
    assert "is 0.33 (p 1)" in text  # two of three pairs are in the reported order
    assert text.endswith("best measured is good, and inside the noise of it fair.")


def test_score_table_marks_the_best_reported_row_and_compares_with_it():
    good, fair, bad = score_table([GOOD, FAIR, BAD])[2:]
    assert "fair ^" in fair and "^" not in good + bad
    assert "| +0.0200 [" in good and "| -0.4800 [" in bad and "[0.830, 0.930]" in fair
    assert "| +0.1000 |" in good and "| -0.0200 |" in fair  # measured minus reported
