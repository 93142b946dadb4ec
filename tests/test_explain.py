"""Why a blend is what it is: the numbers, the tables as text, and that every figure can be drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from comp.ensemble.candidates import Candidate, compare_all_pairs
from comp.ensemble.diagnostics import error_correlation, leave_one_out_gains, member_table
from comp.ensemble.plots import CandidateConfidence, draw_blend, draw_reliability
from comp.ensemble.text_tables import format_candidates, format_members, format_pairs
from comp.stats import Comparison, bootstrap_weights

CLASSES = 4
LONG = "papers/gupta/full+train.epochs=60+augment.policy=strong+optim.lr=0.0003"


def said(right: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Sure of the truth where `right`, of the next class elsewhere."""
    return np.eye(CLASSES)[np.where(right, truth, (truth + 1) % CLASSES)] * 0.8 + 0.05


def pool(count: int, images: int = 400) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    draw = np.random.default_rng(0)
    truth = draw.integers(CLASSES, size=images)
    return truth, {f"trial_{number:04d}": said(draw.random(images) < 0.8, truth) for number in range(count)}


# ------------------------------------------------------------------------------------------------ error correlation


def test_members_that_fail_together_by_chance_and_never_together():
    truth = np.zeros(400, dtype=int)
    half, other, quarter = np.arange(400) % 2 == 0, np.arange(400) // 2 % 2 == 0, np.arange(400) < 100
    found = error_correlation(truth, np.stack([said(right, truth) for right in (half, half, ~half, other, quarter)]))
    assert found[0] == pytest.approx([1, 1, -1, 0, 0]) and np.array_equal(found, found.T)


def test_the_phi_coefficient_by_hand():
    """Of ten images: both wrong on 2, only the first on 1, only the second on 3, both right on 4."""
    truth = np.zeros(10, dtype=int)
    first, second = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1]), np.array([0, 0, 1, 0, 0, 0, 1, 1, 1, 1])
    found = error_correlation(truth, np.stack([said(first == 1, truth), said(second == 1, truth)]))
    assert found[0, 1] == pytest.approx((2 * 4 - 1 * 3) / np.sqrt(3 * 7 * 5 * 5))


def test_who_is_never_wrong_or_always_fails_with_nobody():
    truth, others = pool(1)
    never, always = np.ones(len(truth), dtype=bool), np.zeros(len(truth), dtype=bool)
    with np.errstate(all="raise"):
        found = error_correlation(truth, np.stack([said(never, truth), said(always, truth), others["trial_0000"]]))
    assert np.array_equal(found, np.eye(3))


# ------------------------------------------------------------------------------------------------ weights and gains


def test_weights_are_as_steady_as_what_learns_them():
    steady = bootstrap_weights(lambda rows: np.array([0.7, 0.3, 0.0]), images=50, draws=20)
    assert steady.shape == (20, 3) and (steady == steady[0]).all()
    share = bootstrap_weights(lambda rows: np.array([(rows < 25).mean(), (rows >= 25).mean()]), images=50, draws=200)
    assert share.mean(0) == pytest.approx([0.5, 0.5], abs=0.02)
    assert share.std(0) == pytest.approx(np.sqrt(0.25 / 50), rel=0.2)  # what a share of 50 draws deviates by


def test_bootstraps_are_repeated_and_more_of_them_begin_with_the_same():
    def first(rows: np.ndarray) -> np.ndarray:
        assert len(rows) == 30 and rows.min() >= 0 and rows.max() < 30 and len(set(rows)) < 30
        return rows[:2].astype(float)

    assert np.array_equal(bootstrap_weights(first, 30, draws=5), bootstrap_weights(first, 30, draws=9)[:5])


def test_a_member_gains_what_is_lost_without_it():
    truth, _ = pool(0)
    good, poor = said(np.arange(len(truth)) % 10 > 0, truth), said(np.arange(len(truth)) % 2 > 0, truth)
    gains = leave_one_out_gains("accuracy", truth, good, {"needed": poor, "a copy": good.copy(), "harmful": good})
    assert gains["needed"].difference == pytest.approx(0.4) and gains["needed"].verdict == "better"
    assert gains["a copy"] == Comparison(0.0, (0.0, 0.0), 1.0)
    assert leave_one_out_gains("log_loss", truth, poor, {"harmful": good})["harmful"].verdict == "worse"
    assert leave_one_out_gains("accuracy", truth, good, {}) == {}


def table(count: int, weights: bool = True, learnt: bool = True, gains: bool = True) -> pd.DataFrame:
    names = [f"trial_{number:04d}" for number in range(count - 1)] + [LONG]
    known = (
        {
            name: Comparison(0.004 - 0.002 * place, (0.001, 0.006), 0.01 + 0.05 * place)
            for place, name in enumerate(names)
        }
        if gains
        else {}
    )
    given = np.arange(count) / max(1, count * (count - 1) / 2) if weights else [None] * count
    drawn = np.abs(np.random.default_rng(0).normal(size=(50, count)) * given) if weights and learnt else None
    return member_table(names, given, drawn, known, {name: 2.0 for name in names})


def test_the_table_of_members_has_the_heaviest_first_and_says_what_a_thousandth_costs():
    drawn = np.array([[0.2, 0.8, 0.0], [0.4, 0.6, 0.0], [0.5, 0.4, 0.1], [0.3, 0.7, 0.0]])
    gains = {"a": Comparison(0.002, (0.001, 0.003), 0.01), "b": Comparison(-0.001, (-0.002, 0.003), 0.4)}
    rows = member_table(["a", "b", "c"], [0.3, 0.7, 0.0], drawn, gains, {"a": 5.0, "b": 3.0, "c": 1.0}).set_index(
        "name"
    )
    assert list(rows.index) == ["b", "a", "c"]
    assert list(rows["chosen"]) == [1, 1, 0.25]
    assert 0.2 <= rows.loc["a", "weight_low"] < 0.3 < rows.loc["a", "weight_high"] <= 0.5
    assert rows.loc["a", "ms_per_thousandth"] == pytest.approx(2.5)
    assert rows.loc[["b", "c"], "ms_per_thousandth"].isna().all()  # nothing is gained at any price
    assert rows.loc["b", "verdict"] == "inside the noise" and rows.loc["c", "verdict"] == ""


# ------------------------------------------------------------------------------------------------ tables as text


def candidate(name: str, score: float, naive: float) -> Candidate:
    return Candidate(name, score, (score - 0.01, score + 0.01), naive, 0.1234, 0.04, 0.01)


def test_candidates_are_listed_best_first_and_optimism_is_positive_where_naive_flatters():
    lines = format_candidates("accuracy", [candidate("poor", 0.8, 0.801), candidate("good", 0.9, 0.907)]).splitlines()
    assert [line.split()[0] for line in lines] == ["accuracy", "good", "poor"]
    assert "+0.0070" in lines[1] and "[0.8900, 0.9100]" in lines[1] and "+0.0010" in lines[2]
    lines = format_candidates("log_loss", [candidate("poor", 0.8, 0.8), candidate("good", 0.3, 0.29)]).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["good", "poor"]
    assert "+0.0100" in lines[1] and "+0.0000" in lines[2] and "0.1234" not in lines[1]  # its column would be twice


def test_every_pair_is_in_the_file_the_better_one_first():
    truth, candidates = pool(5)
    for metric in ("accuracy", "log_loss"):
        found = compare_all_pairs(metric, truth, candidates)
        assert len(found) == 10 and (found["difference"] >= 0).all()
        assert found["verdict"].isin(["better", "inside the noise"]).all()
        assert found.equals(compare_all_pairs(metric, truth, dict(reversed(candidates.items()))))


@pytest.mark.parametrize(("count", "lines"), [(1, 0), (2, 1), (6, 15), (7, 6), (12, 11)])
def test_all_pairs_of_few_are_printed_and_of_many_those_with_the_best(count, lines):
    truth, candidates = pool(count, images=50)
    found = compare_all_pairs("accuracy", truth, candidates)
    text = format_pairs(found)
    assert len(text.splitlines()[1:]) == lines
    assert count < 7 or all(line.startswith(found["a"][0]) for line in text.splitlines()[1:])
    assert count == 1 or "inside the noise" in text


def test_a_stack_has_no_weights_to_print_and_noise_no_price():
    assert "weight" not in format_members("accuracy", table(3, weights=False))
    text = format_members("accuracy", table(3))
    assert "weight" in text and "inside the noise" in text and "per 0.001" in text
    assert next(line for line in text.splitlines() if "trial_0000" in line).endswith("0.50")
    assert all(line.endswith("2.00") for line in text.splitlines() if "noise" in line)


def test_no_line_is_wider_than_120_columns_or_no_table_longer_than_a_page():
    truth, candidates = pool(40, images=50)
    candidates = {LONG[number:] * 2: table for number, table in enumerate(candidates.values())}
    texts = [
        format_members("balanced_accuracy", table(40)),
        format_pairs(compare_all_pairs("accuracy", truth, candidates)),
        format_candidates("weighted_precision", [candidate(name, 0.9, 0.91) for name in candidates]),
    ]
    for text in texts:
        assert max(map(len, text.splitlines())) <= 120
        assert len(text.splitlines()) == 32 and text.splitlines()[-1].startswith("and ")
    few = compare_all_pairs("accuracy", truth, dict(list(candidates.items())[:3]))
    assert all("…" in line and len(line) <= 120 for line in format_pairs(few).splitlines()[1:])


# ------------------------------------------------------------------------------------------------ figures


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("known", [{}, {"weights": False}, {"learnt": False}, {"gains": False}])
@pytest.mark.parametrize("count", [1, 2, 16])
def test_a_blend_is_drawn_whatever_is_known_of_it(count, known, tmp_path):
    rows = table(count, **known)
    correlation = pd.DataFrame(np.eye(count), rows["name"], rows["name"])
    draw_blend(tmp_path / "blend.png", "a blend", "accuracy", rows, correlation)
    with Image.open(tmp_path / "blend.png") as picture:
        assert min(picture.size) > 200


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 5, 9])
def test_reliability_is_drawn_for_a_few_and_for_many(count, tmp_path, monkeypatch):
    monkeypatch.setattr("comp.ensemble.plots.MAX_PANELS", 6)
    truth, candidates = pool(count)
    draw_reliability(
        tmp_path / "reliability.png",
        "reliability",
        truth,
        [
            CandidateConfidence(name, one, one**0.5 / (one**0.5).sum(1, keepdims=True), 2.0)
            for name, one in candidates.items()
        ],
    )
    with Image.open(tmp_path / "reliability.png") as picture:
        assert min(picture.size) > 200
