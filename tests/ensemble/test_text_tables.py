"""The tables of an ensemble as text, and the comparison of all pairs that one of them shows."""

from __future__ import annotations

import pytest

from comp.ensemble.candidates import Candidate, compare_all_pairs
from comp.ensemble.diagnostics import member_table
from comp.ensemble.text_tables import format_candidates, format_members, format_pairs
from comp.stats import Comparison, compare_predictions
from tests.ensemble.tables import LONG_NAME, make_candidates, make_member_table


def make_candidate(name: str, score: float, naive_score: float) -> Candidate:
    return Candidate(name, score, (score - 0.01, score + 0.01), naive_score, 0.1234, 0.04, 0.01)


def test_format_candidates_best_first_and_optimism_positive_where_naive_is_too_good():
    candidates = [make_candidate("poor", 0.8, 0.801), make_candidate("good", 0.9, 0.907)]
    lines = format_candidates("accuracy", candidates).splitlines()
    assert [line.split()[0] for line in lines] == ["accuracy", "good", "poor"]
    assert "+0.0070" in lines[1] and "[0.8900, 0.9100]" in lines[1] and "+0.0010" in lines[2]
    candidates = [make_candidate("poor", 0.8, 0.8), make_candidate("good", 0.3, 0.29)]
    lines = format_candidates("log_loss", candidates).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["good", "poor"]
    assert "+0.0100" in lines[1] and "+0.0000" in lines[2] and "0.1234" not in lines[1]  # its column would be twice


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_compare_all_pairs_has_every_pair_the_better_one_first(metric):
    targets, candidates = make_candidates(5)
    pairs = compare_all_pairs(metric, targets, candidates)
    assert len(pairs) == 10 and (pairs["difference"] >= 0).all()
    assert pairs["verdict"].isin(["better", "inside the noise"]).all()
    assert pairs.equals(compare_all_pairs(metric, targets, dict(reversed(candidates.items()))))


@pytest.mark.parametrize(("count", "lines"), [(1, 0), (2, 1), (6, 15), (7, 6), (12, 11)])
def test_format_pairs_shows_all_pairs_of_few_and_those_with_the_best_of_many(count, lines):
    targets, candidates = make_candidates(count, images=50)
    pairs = compare_all_pairs("accuracy", targets, candidates)
    text = format_pairs(pairs)
    assert len(text.splitlines()[1:]) == lines
    assert count < 7 or all(line.startswith(pairs["a"][0]) for line in text.splitlines()[1:])
    assert count == 1 or "inside the noise" in text


def test_format_members_stack_has_no_weights_and_noise_no_latency_of_a_gain():
    assert "weight" not in format_members("accuracy", make_member_table(3, weights=False))
    text = format_members("accuracy", make_member_table(3))
    assert "weight" in text and "inside the noise" in text and "per 0.001" in text
    assert next(line for line in text.splitlines() if "trial_0000" in line).endswith("0.50")
    assert all(line.endswith("2.00") for line in text.splitlines() if "noise" in line)


def test_format_tables_are_at_most_120_columns_wide_and_a_page_long():
    targets, candidates = make_candidates(40, images=50)
    candidates = {LONG_NAME[index:] * 2: table for index, table in enumerate(candidates.values())}
    texts = [
        format_members("balanced_accuracy", make_member_table(40)),
        format_pairs(compare_all_pairs("accuracy", targets, candidates)),
        format_candidates("weighted_precision", [make_candidate(name, 0.9, 0.91) for name in candidates]),
    ]
    for text in texts:
        assert max(map(len, text.splitlines())) <= 120
        assert len(text.splitlines()) == 32 and text.splitlines()[-1].startswith("and ")
    three = compare_all_pairs("accuracy", targets, dict(list(candidates.items())[:3]))
    assert all("…" in line and len(line) <= 120 for line in format_pairs(three).splitlines()[1:])


def test_compare_all_pairs_rows_are_the_paired_comparisons():
    targets, candidates = make_candidates(3)
    for row in compare_all_pairs("log_loss", targets, candidates).itertuples():
        comparison = compare_predictions("log_loss", targets, candidates[row.a], candidates[row.b])
        assert (row.difference, row.low, row.high) == pytest.approx((comparison.difference, *comparison.interval))
        assert row.p == comparison.p and row.verdict == comparison.verdict


def test_format_members_verdicts_begin_in_one_column():
    lines = format_members("accuracy", make_member_table(3)).splitlines()
    starts = {line.index(word) for line in lines for word in ("better", "inside the noise") if word in line}
    assert len(starts) == 1 and any("better" in line for line in lines)


def test_format_candidates_without_probabilities_has_no_calibration_error():
    number = Candidate("numbers", 0.5, (0.4, 0.6), 0.5, 0.1234, None, None)
    tags = Candidate("tags", 0.5, (0.4, 0.6), 0.5, 0.1234, 0.04, 0.0)
    heading, first, second = format_candidates("rmse", [tags, number]).splitlines()
    assert first.split() == ["numbers", "0.5000", "[0.4000,", "0.6000]", "0.5000", "+0.0000", "0.1234"]
    assert second.split()[-3:] == ["0.1234", "0.0400", "0.0000"]
    assert heading.split()[-4:] == ["loss", "ECE", "before", "after"]


def test_compare_all_pairs_equal_candidates_are_in_the_order_of_their_names():
    targets, candidates = make_candidates(1)
    [only] = candidates.values()
    pairs = compare_all_pairs("accuracy", targets, {"b": only, "c": only, "a": only})
    assert pairs[["a", "b"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]


def test_format_members_gain_and_its_interval_have_signs():
    table = member_table(["a"], [1.0], None, {"a": Comparison(0.002, (0.001, 0.003), 0.01)}, {"a": 5.0})
    row = format_members("accuracy", table).splitlines()[1]
    assert row.split() == ["a", "1.000", "+0.0020", "[+0.0010,", "+0.0030]", "better", "5.00", "2.50"]
