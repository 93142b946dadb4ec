"""Two picks that say when they are inside the noise, and the correlation of CV and LB."""

from __future__ import annotations

import numpy as np
import pytest

from comp.stats import wilson_interval
from comp.submit.ledger import LedgerEntry
from comp.submit.picks import ImageCounts, content_key, format_correlation, propose_picks


def entry(
    id: str, cv: float | None = None, public: float | None = None, half_width: float = 0.01, **fields
) -> LedgerEntry:
    interval = {} if cv is None else {"cv_low": cv - half_width, "cv_high": cv + half_width}
    return LedgerEntry(
        id, **{"cv": cv, "public": public, "sent": "2025-11-21", "sent_sha256": f"content of {id}"} | interval | fields
    )


def picks(entries, metric: str = "accuracy", public: int | None = 1000, train: int | None = 3000):
    cv_images = {entry.id: train for entry in entries} if train else {}
    return [(pick.entry.id, pick.reason) for pick in propose_picks(entries, metric, ImageCounts(public, cv_images))]


def test_propose_picks_gives_best_cv_and_best_mean_by_images():
    entries = [entry("cv", 0.95, 0.90), entry("lb", 0.90, 0.99), entry("both", 0.945, 0.94)]
    (first, first_reason), (second, second_reason) = picks(entries)  # 0.9375, 0.9225, 0.94375
    assert (first, second) == ("cv", "both")
    assert first_reason.startswith("best CV: 0.9500 [0.9400, 0.9600]; 1 other is inside the noise")
    assert (
        second_reason.startswith("best CV and LB together: 0.9437 [")
        and "on 3,000 images and LB 0.9400 on 1,000" in second_reason
    )
    assert "2 others" not in second_reason and "1 other is inside the noise" in second_reason
    assert picks(entries, public=100_000)[1][0] == "lb"  # a leaderboard of 100,000 images outweighs CV


def test_propose_picks_never_gives_one_content_twice():
    entries = [entry("a", 0.95, 0.95), entry("b", 0.94, 0.94), entry("c", 0.93, 0.93)]
    assert [id for id, _ in picks(entries)] == ["a", "b"] and picks(entries)[1][1].startswith("next best CV and LB")
    copy = entry("copy", 0.95, 0.95, sent_sha256="content of a")
    assert [id for id, _ in picks([*entries, copy])] == ["a", "b"]
    assert [id for id, _ in picks(entries[:1])] == ["a"]


def test_propose_picks_copy_of_best_is_not_counted_as_noise():
    entries = [entry("a", 0.95, 0.95), entry("copy", 0.95, 0.95, sent_sha256="content of a"), entry("b", 0.5, 0.5)]
    assert "noise" not in "".join(reason for _, reason in picks(entries))


def test_propose_picks_clear_best_has_no_noise_remark():
    assert "noise" not in "".join(reason for _, reason in picks([entry("a", 0.95, 0.95), entry("b", 0.90, 0.90)]))


def test_propose_picks_unsent_best_cv_is_marked():
    (id, reason), (other, _) = picks([entry("new", 0.99, sent=None), entry("old", 0.9, 0.9)])
    assert (id, other) == ("new", "old") and reason.endswith("not sent yet")


def test_propose_picks_other_metrics_use_mean_rank():
    entries = [entry("a", 0.10, 0.40), entry("b", 0.20, 0.10), entry("c", 0.30, 0.30)]  # ranks 1+3, 2+1, 3+2
    (first, _), (second, reason) = picks(entries, "log_loss")
    assert (first, second) == ("a", "b") and "mean rank 1.5 of 3" in reason and "noise unknown" in reason
    assert [id for id, _ in picks([entry(id, n, n) for n, id in enumerate("cba")], "macro_f1")] == ["a", "b"]
    assert (
        "mean rank" in picks(entries, train=None)[1][1]
    )  # accuracies cannot be weighted without the numbers of images


def test_propose_picks_equal_together_prefer_the_better_cv():
    """The leaderboard has fewer images than CV."""
    losses = [entry("b", 0.20, 0.30), entry("a", 0.10, 0.40)]  # ranks 2+1, 1+2
    shares = [entry("b", 0.80, 0.90), entry("a", 0.90, 0.80)]
    for entries, metric, train in ((losses, "log_loss", 3000), (shares, "macro_f1", 3000), (shares, "accuracy", 1000)):
        (first, _), (second, reason) = picks(entries, metric, public=1000, train=train)
        assert (first, second) == ("a", "b") and reason.startswith("next best CV and LB together"), metric


def test_propose_picks_without_scores_is_empty():
    assert picks([entry("a"), entry("b")]) == [] and picks([]) == []


def test_propose_picks_order_of_entries_has_no_effect():
    rng = np.random.default_rng(0)
    entries = [entry(f"{n}", *rng.uniform(0.8, 0.9, 2)) for n in range(20)]
    assert picks(entries) == picks(entries[::-1]) and picks(entries, "log_loss") == picks(entries[::-1], "log_loss")


def test_wilson_interval_contains_probability_in_95_percent():
    rng = np.random.default_rng(0)
    for truth, images in ((0.9, 200), (0.98, 1000), (0.5, 50)):
        correct, times = np.unique(rng.binomial(images, truth, 2000), return_counts=True)
        intervals = [wilson_interval(count / images, images) for count in correct]
        held = np.average([low <= truth <= high for low, high in intervals], weights=times)
        assert 0.93 < held < 0.98, (truth, images, held)


def test_wilson_interval_perfect_score_is_not_certain():
    low, high = wilson_interval(1.0, 100)
    assert high == 1.0 and 0.95 < low < 0.97


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        ([], "0 submissions have both"),
        ([(1, 1)], "1 submission has both"),
        ([(1, 1), (2, 2), (3, 3)], "1.00 of 3 submissions, too few to be significant"),
        ([(n, n) for n in range(6)], "1.00 of 6 submissions, p 0.0028"),
        ([(n, -n) for n in range(6)], "-1.00 of 6 submissions, p 0.0028"),
        ([(1, 2), (2, 1), (3, 5), (4, 3), (5, 4)], "of 5 submissions, p 0.48, not significant"),
        ([(n, 1) for n in range(6)], "have the same score"),
    ],
)
def test_format_correlation_has_tau_and_p(scores, text):
    assert text in format_correlation([entry(f"{n}", *map(float, pair)) for n, pair in enumerate(scores)])


def test_propose_picks_entry_with_only_an_id_is_ignored():
    assert propose_picks([LedgerEntry("x")], "accuracy", ImageCounts()) == []


def test_content_key_is_what_was_sent():
    """A file may be written anew after it was sent."""
    a, b = (LedgerEntry(id, sent_sha256="1", written_sha256=id) for id in "ab")
    c, d = (LedgerEntry(id, sent_sha256=id, written_sha256="1") for id in "cd")
    assert content_key(a) == content_key(b) != content_key(c) != content_key(d)
    assert content_key(LedgerEntry("e", written_sha256="2")) == "2" and content_key(LedgerEntry("f")) == "f"


def test_propose_picks_intervals_hold_their_ends():
    entries = [entry("a", 0.95, cv_low=0.94, cv_high=0.96), entry("low", 0.94), entry("out", 0.9399), entry("b", 0.95)]
    [(id, reason)] = picks(entries)
    assert id == "a" and reason == "best CV: 0.9500 [0.9400, 0.9600]; 2 others are inside the noise"
    [(_, reason)] = picks([LedgerEntry("x", cv=0.5, sent="2025-11-21"), LedgerEntry("y", cv=0.4)])
    assert reason == "best CV: 0.5000"


def test_propose_picks_mean_of_cv_and_lb_has_the_interval_of_all_images():
    entries = [entry("cv", 0.95, 0.90), entry("both", 0.945, 0.94), entry("poor", 0.5, 0.5)]
    low, high = wilson_interval(0.94375, 4000)
    (_, _), (_, reason) = picks(entries)
    assert f": 0.9437 [{low:.4f}, {high:.4f}] of CV 0.9450 on 3,000 images and LB 0.9400 on 1,000" in reason
    assert reason.endswith("; 1 other is inside the noise")  # 0.9375


def test_propose_picks_numbers_of_images_must_be_known_for_every_submission():
    entries = [entry("a", 0.95, 0.90), entry("b", 0.90, 0.95)]
    for images in (ImageCounts(1000, {"a": 3000}), ImageCounts(None, {"a": 3000, "b": 3000})):
        assert "mean rank" in propose_picks(entries, "accuracy", images)[1].reason
    assert "on 3,000 images" in picks(entries)[1][1]


def test_propose_picks_equal_ranks_share_their_mean():
    entries = [entry("a", 0.10, 0.30), entry("b", 0.20, 0.20), entry("c", 0.20, 0.10)]  # ranks 1+3, 2.5+2, 2.5+1
    (first, _), (second, reason) = picks(entries, "log_loss")
    assert (first, second) == ("a", "c") and "mean rank 1.75 of 3, CV 0.2000 and LB 0.1000" in reason


def test_format_correlation_of_five_may_be_significant():
    five = [entry(f"{n}", float(n), float(n)) for n in range(5)]
    assert format_correlation(five).endswith("1.00 of 5 submissions, p 0.017")
    assert format_correlation(five[:4]).endswith("of 4 submissions, too few to be significant (p 0.08)")
    assert format_correlation(five[:2]).endswith("of 2 submissions, too few to be significant (p 1.00)")
