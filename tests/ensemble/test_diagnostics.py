"""Error correlation, gains and the table of members, on examples computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from comp.ensemble.diagnostics import error_correlation, leave_one_out_gains, member_table
from comp.stats import Comparison
from tests.ensemble.tables import make_candidates, predict


def errors_of(targets: np.ndarray, members: np.ndarray) -> np.ndarray:
    return (members.argmax(2) != targets).astype(float)


def test_error_correlation_is_one_by_design_zero_by_chance_and_minus_one_for_opposites():
    targets = np.zeros(400, dtype=int)
    half, other_half, quarter = np.arange(400) % 2 == 0, np.arange(400) // 2 % 2 == 0, np.arange(400) < 100
    members = np.stack([predict(correct, targets) for correct in (half, half, ~half, other_half, quarter)])
    correlation = error_correlation(errors_of(targets, members))
    assert correlation[0] == pytest.approx([1, 1, -1, 0, 0]) and np.array_equal(correlation, correlation.T)


def test_error_correlation_is_the_phi_coefficient_by_hand():
    """Ten images: both members are incorrect on 2, only the first on 1, only the second on 3, both correct on 4."""
    targets = np.zeros(10, dtype=int)
    first, second = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1]), np.array([0, 0, 1, 0, 0, 0, 1, 1, 1, 1])
    correlation = error_correlation(
        errors_of(targets, np.stack([predict(first == 1, targets), predict(second == 1, targets)]))
    )
    assert correlation[0, 1] == pytest.approx((2 * 4 - 1 * 3) / np.sqrt(3 * 7 * 5 * 5))


def test_error_correlation_constant_member_is_zero():
    targets, candidates = make_candidates(1)
    always, never = np.ones(len(targets), dtype=bool), np.zeros(len(targets), dtype=bool)
    members = np.stack([predict(always, targets), predict(never, targets), candidates["trial_0000"]])
    with np.errstate(all="raise"):
        assert np.array_equal(error_correlation(errors_of(targets, members)), np.eye(3))


def test_leave_one_out_gains_are_what_the_blend_loses_without_the_member():
    targets, _ = make_candidates(0)
    good, poor = predict(np.arange(len(targets)) % 10 > 0, targets), predict(np.arange(len(targets)) % 2 > 0, targets)
    gains = leave_one_out_gains("accuracy", targets, good, {"needed": poor, "copy": good.copy()})
    assert gains["needed"].difference == pytest.approx(0.4) and gains["needed"].verdict == "better"
    assert gains["copy"] == Comparison(0.0, (0.0, 0.0), 1.0)
    assert leave_one_out_gains("log_loss", targets, poor, {"harmful": good})["harmful"].verdict == "worse"
    assert leave_one_out_gains("accuracy", targets, good, {}) == {}


def test_member_table_has_the_heaviest_first_and_the_latency_of_a_gain():
    resampled = np.array([[0.2, 0.8, 0.0], [0.4, 0.6, 0.0], [0.5, 0.4, 0.1], [0.3, 0.7, 0.0]])
    gains = {"a": Comparison(0.002, (0.001, 0.003), 0.01), "b": Comparison(-0.001, (-0.002, 0.003), 0.4)}
    latency = {"a": 5.0, "b": 3.0, "c": 1.0}
    rows = member_table(["a", "b", "c"], [0.3, 0.7, 0.0], resampled, gains, latency).set_index("name")
    assert list(rows.index) == ["b", "a", "c"]
    assert list(rows["chosen"]) == [1, 1, 0.25]
    assert 0.2 <= rows.loc["a", "weight_low"] < 0.3 < rows.loc["a", "weight_high"] <= 0.5
    assert rows.loc["a", "ms_per_thousandth"] == pytest.approx(2.5)
    assert rows.loc[["b", "c"], "ms_per_thousandth"].isna().all()  # there is no gain
    assert rows.loc["b", "verdict"] == "inside the noise" and rows.loc["c", "verdict"] == ""


def test_member_table_intervals_hold_95_of_100_resamples():
    even = np.linspace(0, 1, 1001)
    rows = member_table(["a", "b"], [0.5, 0.5], np.stack([even, 1 - even / 2], 1), {}, {"a": 1.0, "b": 1.0})
    assert rows[["weight_low", "weight_high"]].to_numpy() == pytest.approx(np.array([[0.025, 0.975], [0.5125, 0.9875]]))
    assert rows["chosen"].to_list() == [pytest.approx(1000 / 1001), 1]


def test_member_table_equal_weights_are_ordered_by_gain_then_name():
    gains = {name: Comparison(gain, (gain - 1, gain + 1), 0.5) for name, gain in (("a", 0.1), ("b", 0.3), ("d", 0.1))}
    names = ["d", "b", "a"]
    rows = member_table(names, [1 / 3] * 3, None, gains, dict.fromkeys(names, 2.0))
    assert rows["name"].to_list() == ["b", "a", "d"] and rows.index.to_list() == [0, 1, 2]  # plots go by the number
    assert rows[["gain", "gain_low", "gain_high", "p"]].iloc[0].to_list() == pytest.approx([0.3, -0.7, 1.3, 0.5])
