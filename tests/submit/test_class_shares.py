"""Class shares far from those of training are reported."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from comp.submit import class_shares
from comp.submit.check import check_submission
from tests.submit.cells import CLASSES, ROWS, issue_texts, lines, severities, write, write_sample


def rows_with_counts(*counts: int) -> list[tuple[str, str]]:
    labels = [label for label, count in zip(CLASSES, counts, strict=True) for _ in range(count)]
    return [(id, label) for (id, _), label in zip(ROWS, labels, strict=True)]


@pytest.mark.parametrize(
    ("counts", "severity"),
    [
        ((20, 20, 20, 20), None),
        ((26, 20, 18, 16), None),
        ((40, 20, 20, 0), "warning"),  # 25 % of rows; 80 random draws are 20 % off at most
        ((70, 10, 0, 0), "suspicious"),  # 62.5 %
    ],
)
def test_check_submission_class_shares_far_from_training_have_issue(cells_workspace, form, counts, severity):
    write_sample(form)
    report = check_submission(write("x", lines(form, rows_with_counts(*counts))))
    assert severities(report) == ({severity} if severity else set()), report.to_text()
    assert (
        severity is None
        or "baso has" in issue_texts(report, severity)
        or "nan has 0.0% instead of 25.0%" in issue_texts(report, severity)
    )


def test_class_share_issues_few_rows_have_none():
    trained = dict.fromkeys("abcd", 100)
    assert not list(class_shares.class_share_issues(["a", "a", "b"], trained))
    assert [issue.severity for issue in class_shares.class_share_issues(["a"] * 60, trained)] == ["suspicious"]


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.01, []), (0.03, ["warning"]), (0.29, ["warning"]), (0.31, ["suspicious"])]
)
def test_class_share_issues_margins_beyond_noise(margin, expected):
    rows, counts = 10_000, dict.fromkeys("ab", 100)
    extra = round((class_shares.sampling_noise(np.array([0.5, 0.5]), rows) + margin) * rows)
    predicted = ["a"] * (rows // 2 + extra) + ["b"] * (rows // 2 - extra)
    assert [issue.severity for issue in class_shares.class_share_issues(predicted, counts)] == expected


def test_class_share_issues_random_draws_hardly_ever_warn():
    trained, rng = {"a": 500, "b": 300, "c": 150, "d": 50}, np.random.default_rng(1)
    shares = np.array(list(trained.values())) / 1000
    drawn = rng.multinomial(200, shares, size=200)
    warned = sum(
        bool(
            list(
                class_shares.class_share_issues(
                    Counter(dict(zip(trained, map(int, row), strict=True))).elements(), trained
                )
            )
        )
        for row in drawn
    )
    assert warned <= 2  # one in a thousand would be 0.2, and the margin makes it less


def test_sampling_noise_of_the_same_file_is_always_the_same():
    noise = class_shares.sampling_noise(np.array([0.123, 0.334, 0.543]), 1_000_003)
    assert noise == pytest.approx(0.0016206345, abs=1e-9)
