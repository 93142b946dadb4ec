"""Blends where the right answer is known, and what must not change any of them."""

from __future__ import annotations

import json
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from comp.ensemble.blend import METHODS, Blend, BlendMember, apply_blend, combine_members
from comp.ensemble.crossfit import (
    MemberFitOptions,
    fit_each_fold,
    fit_members,
    fit_on_rows,
    predict_cross_fitted,
    predict_in_sample,
)
from comp.ensemble.greedy import fit_greedy_weights
from comp.ensemble.pool import MemberPredictions, Pool, build_pool, drop_duplicate_members
from comp.ensemble.simplex import fit_simplex_weights
from comp.ensemble.stack import fit_stack
from comp.ensemble.view_selection import choose_views
from comp.errors import UserError
from comp.metrics import METRICS, score
from comp.records.blend import BlendSpec

CLASSES = ("a", "b", "c", "d")
IMAGES = 240
FITTED = ("greedy", "weights", "stack")


def sharpened(said: np.ndarray) -> np.ndarray:
    """Surer than they should be: there a mean of several is worth most."""
    return said**4 / (said**4).sum(-1, keepdims=True)


def truth_of(images: int = IMAGES) -> np.ndarray:
    return np.arange(images) % len(CLASSES)


def opinions(seed: int, skill: float, views: int = 1, images: int = IMAGES) -> np.ndarray:
    """(views, images, classes); without skill they know nothing."""
    logits = np.random.default_rng(seed).normal(size=(views, images, len(CLASSES)))
    logits[:, np.arange(images), truth_of(images)] += skill
    shares = np.exp(logits)
    return (shares / shares.sum(-1, keepdims=True)).astype(np.float32)


def pool_of(metric: str = "accuracy", images: int = IMAGES, **members: np.ndarray) -> Pool:
    names = tuple(f"img_{number:04}" for number in range(images))
    folds = np.random.default_rng(9).permutation(images) % 4
    return Pool(
        CLASSES,
        metric,
        names,
        truth_of(images),
        folds,
        tuple(
            MemberPredictions(name, ("identity", "hflip", "vflip")[: len(said)], said)
            for name, said in sorted(members.items())
        ),
    )


def three(metric: str = "accuracy") -> Pool:
    return pool_of(metric, anna=opinions(1, 1.5), bert=opinions(2, 1.0), carl=opinions(3, 2.0))


def honest(pool: Pool, method: str, learning: MemberFitOptions = MemberFitOptions()) -> np.ndarray:  # noqa: B008
    return predict_cross_fitted(method, fit_each_fold(pool, learning), pool)


def everything(pool: Pool, method: str, learning: MemberFitOptions = MemberFitOptions()) -> Blend:  # noqa: B008
    return fit_on_rows(method, fit_members(pool, np.arange(len(pool.images)), learning), pool)


def accuracy(pool: Pool, predictions: np.ndarray) -> float:
    return score("accuracy", pool.targets, predictions)


# ---- the right answer is known ----


@pytest.mark.parametrize("method", METHODS)
def test_a_copy_of_a_member_changes_no_score(method):
    alone, copies = drop_duplicate_members(three())
    twice = replace(alone, members=(*alone.members, replace(alone.members[0], name="zoe")))
    with_copy, copies_of = drop_duplicate_members(twice)
    assert copies == {} and copies_of == {"zoe": "anna"}
    assert np.array_equal(honest(with_copy, method), honest(alone, method))


@pytest.mark.parametrize("method", ["greedy", "weights"])
def test_a_copy_that_is_not_taken_out_changes_no_prediction_of_what_is_fitted(method):
    pool = three()
    twice = replace(pool, members=(*pool.members, replace(pool.members[0], name="zoe")))
    assert np.allclose(honest(twice, method), honest(pool, method), atol=1e-3)
    assert accuracy(pool, honest(twice, method)) == pytest.approx(accuracy(pool, honest(pool, method)), abs=0.005)


@pytest.mark.parametrize("method", FITTED)
def test_a_perfect_member_wins(method):
    knowing = opinions(0, 30.0)
    pool = pool_of(anna=opinions(1, 1.0), knowing=knowing, noise=opinions(2, 0.0))
    assert accuracy(pool, honest(pool, method)) == 1
    if method != "stack":
        weights = {part.name: part.weight for part in everything(pool, method).members}
        assert weights["knowing"] > 0.99


@pytest.mark.parametrize("method", ["greedy", "weights"])
def test_members_of_noise_get_next_to_nothing(method):
    noise = {f"noise{seed}": opinions(100 + seed, 0.0, images=1200) for seed in range(5)}
    pool = pool_of("log_loss", 1200, carl=opinions(3, 3.0, images=1200), **noise)
    weights = {part.name: part.weight for part in everything(pool, method).members}
    assert weights.pop("carl") > 0.9 and max(weights.values()) < 0.05


@pytest.mark.parametrize("method", METHODS)
def test_the_honest_score_of_noise_is_chance_and_the_naive_one_flatters(method):
    """Over six pools of eight members: 1,440 answers, chance 0.25, whose standard error is 0.0114."""
    scores, flattered = [], []
    for seed in range(6):
        pool = pool_of(**{f"m{member}": opinions(1000 * seed + member, 0.0) for member in range(8)})
        scores.append(accuracy(pool, honest(pool, method)))
        everyone = fit_members(pool, np.arange(IMAGES), MemberFitOptions())
        flattered.append(accuracy(pool, predict_in_sample(method, everyone, pool)))
    assert abs(np.mean(scores) - 0.25) < 0.04
    if method in ("greedy", "stack"):
        assert np.mean(flattered) > np.mean(scores) + 0.04


@pytest.mark.parametrize("method", METHODS)
def test_what_is_scored_never_saw_its_own_labels(method):
    """Other labels in one fold change nothing that is said of that fold's images."""
    learning = MemberFitOptions(max_views=2)
    pool = pool_of(anna=opinions(1, 1.5, views=3), bert=opinions(2, 1.0, views=3))
    for fold in (0, 3):
        lied = np.where(pool.folds == fold, (pool.targets + 1) % 4, pool.targets)
        held = pool.folds == fold
        before, after = (honest(each, method, learning) for each in (pool, replace(pool, targets=lied)))
        assert np.array_equal(before[held], after[held])
    assert not np.array_equal(before, after) or method == "vote"  # the others' were learnt from


def test_one_fold_alone_is_parted_into_fifths():
    pool = replace(three(), folds=np.zeros(IMAGES, int))
    held = [part.held_out_rows for part in fit_each_fold(pool, MemberFitOptions())]
    assert sorted(np.concatenate(held)) == list(range(IMAGES))
    assert [len(rows) for rows in held] == [48] * 5
    assert 0.5 < accuracy(pool, honest(pool, "stack")) < 1


# ---- each method by hand ----


def said(*members: list[list[float]]) -> np.ndarray:
    return np.array(members, np.float32)


def blended(method: str, voices: np.ndarray) -> np.ndarray:
    share = 1 / len(voices)
    return combine_members(
        Blend(method, tuple(BlendMember(f"m{n}", ("identity",), 1.0, share) for n in range(len(voices)))), voices
    )


def test_mean_and_geometric_mean_by_hand():
    voices = said([[0.8, 0.2]], [[0.2, 0.8]], [[0.5, 0.5]])
    assert blended("mean", voices) == pytest.approx(np.array([[0.5, 0.5]]))
    two = said([[0.9, 0.1]], [[0.5, 0.5]])
    assert blended("geometric", two) == pytest.approx(np.array([[0.75, 0.25]]))  # 3 to 1, as sqrt(0.45) to sqrt(0.05)
    assert np.isfinite(blended("geometric", said([[1.0, 0.0]], [[0.0, 1.0]]))).all()


def test_a_vote_is_the_majoritys_whatever_it_is_sure_of():
    voices = said([[0.51, 0.49, 0]], [[0.51, 0.49, 0]], [[0, 1, 0]])
    assert blended("vote", voices).argmax(1).tolist() == [0]
    assert blended("vote", voices) == pytest.approx(np.array([[2.5, 1, 0]]) / 3.5)


def test_a_tied_vote_falls_to_the_higher_mean_probability():
    voices = said([[0.6, 0.4, 0]], [[0.1, 0.9, 0]])
    assert blended("vote", voices).argmax(1).tolist() == [1]


def test_a_vote_tied_in_that_too_falls_to_the_first_name():
    voices = said([[0, 0.75, 0.25]], [[0, 0.25, 0.75]])
    assert blended("vote", voices).argmax(1).tolist() == [1]
    assert blended("vote", voices[::-1]).argmax(1).tolist() == [2]


def test_weights_are_those_no_others_are_better_than():
    first, second = opinions(1, 1.5)[0], opinions(2, 1.0)[0]
    found = fit_simplex_weights(np.stack([first, second]), truth_of())
    losses = [score("log_loss", truth_of(), share * first + (1 - share) * second) for share in np.linspace(0, 1, 101)]
    assert found.sum() == pytest.approx(1) and found[0] == pytest.approx(np.argmin(losses) / 100, abs=0.011)


@pytest.mark.parametrize("members", [5, 60])
def test_weights_come_with_a_proof(members):
    """The mean ratio of a member's probability to the blend's is at most 1 at the best weights, 1 where weight is."""
    voices = np.stack([opinions(seed, 0.05 * seed)[0] for seed in range(members)])
    of_truth = voices[:, np.arange(IMAGES), truth_of()].astype(float)
    weights = fit_simplex_weights(voices, truth_of())
    ratios = (of_truth / (weights @ of_truth)).mean(1)
    assert ratios.max() < 1 + 1e-3 and np.allclose(ratios[weights > 0.01], 1, atol=1e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_greedy_scores_as_the_metric_does_and_never_below_the_best_member(metric):
    voices = np.stack([opinions(seed, 1.0)[0] for seed in range(6)])
    sign = 1 if METRICS[metric].higher_is_better else -1
    alone = max(sign * score(metric, truth_of(), each) for each in voices)
    first_round = fit_greedy_weights(voices, truth_of(), metric, rounds=1)
    assert sign * score(metric, truth_of(), np.tensordot(first_round, voices, 1)) == pytest.approx(alone, abs=1e-6)
    whole = sign * score(metric, truth_of(), np.tensordot(fit_greedy_weights(voices, truth_of(), metric), voices, 1))
    assert whole > alone


def test_greedy_prefers_who_is_in_and_the_smallest_of_equals():
    right = said([[0.9, 0.1], [0.1, 0.9]])[0]
    voices = np.stack([right, right[:, ::-1], right])
    assert fit_greedy_weights(voices, np.array([0, 1]), "accuracy").tolist() == [1, 0, 0]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_what_its_rules_say_one_by_one(seed, metric):
    """Of 24 images many scores are equal: then who is in, then the lower log loss."""
    voices, truth = np.stack([opinions(10 * seed + n, 0.7, images=24)[0] for n in range(6)]), truth_of(24)
    sign, chosen, best = 1 if METRICS[metric].higher_is_better else -1, [], (-np.inf, None)

    def worth(member: int) -> tuple[float, bool, float]:
        together = voices[[*chosen, member]].mean(0, dtype=np.float64)
        return round(sign * score(metric, truth, together), 6), member in chosen, -score("log_loss", truth, together)

    for _ in range(12):
        chosen.append(max(range(6), key=worth))
        value = sign * score(metric, truth, voices[chosen].mean(0, dtype=np.float64))
        if value > best[0] + 1e-9:
            best = value, np.bincount(chosen, minlength=6) / len(chosen)
    assert fit_greedy_weights(voices, truth, metric, rounds=12) == pytest.approx(best[1])


def test_greedy_takes_a_member_again_where_that_is_better():
    good, other = sharpened(opinions(1, 2.0))[0], sharpened(opinions(2, 1.5))[0]
    weights = fit_greedy_weights(np.stack([good, other]), truth_of(), "log_loss")
    assert 0.5 < weights[0] < 1


# ---- views ----


def test_the_picture_itself_is_always_a_view_and_useless_ones_are_not():
    views = np.concatenate([opinions(1, 2.0), opinions(50, -1.0), opinions(2, 2.0)])
    assert choose_views(("identity", "hflip", "vflip"), views, truth_of(), 3) == ("identity", "vflip")
    assert choose_views(("identity", "hflip", "vflip"), views[[1, 0, 2]], truth_of(), 1) == ("identity",)


def test_no_more_views_are_chosen_than_may_be():
    views = np.full((3, IMAGES, 4), 0.25)
    for view in range(3):  # each knows a third of the images, and nothing of the others
        knows = np.arange(view, IMAGES, 3)
        views[view, knows] = 0.01
        views[view, knows, truth_of()[knows]] = 0.97
    names = ("identity", "hflip", "vflip")
    assert [len(choose_views(names, views, truth_of(), most)) for most in (1, 2, 3, 8)] == [1, 2, 3, 3]


def test_views_are_kept_in_the_blend_and_used_on_the_test_images():
    pool = pool_of(anna=np.concatenate([opinions(1, 2.0), opinions(50, -1.0), opinions(2, 2.0)]))
    blend = everything(pool, "mean", MemberFitOptions(calibrate=False, max_views=3))
    assert blend.members[0].views == ("identity", "vflip") and blend.members[0].temperature == 1
    test = pool.members[0].oof[[0, 2]][None]
    assert apply_blend(blend, [test]) == pytest.approx(test[0].mean(0), abs=1e-6)


def test_a_temperature_acts_before_folds_and_views_are_averaged():
    sure, unsure = said([[0.9, 0.1]])[0], said([[0.4, 0.6]])[0]
    spoken = np.stack([sure, unsure])[:, None]  # two fold models, one view
    blend = Blend("mean", (BlendMember("m", ("identity",), 0.5, 1.0),))
    sharper = [np.array([[0.81, 0.01]]) / 0.82, np.array([[0.16, 0.36]]) / 0.52]
    assert apply_blend(blend, [spoken]) == pytest.approx((sharper[0] + sharper[1]) / 2)


def test_who_has_no_weight_is_not_asked_and_not_missed():
    parts = tuple(
        BlendMember(name, ("identity",), temperature, weight)
        for name, temperature, weight in (("anna", 2.0, 0.25), ("bert", 3.0, 0.0), ("carl", 0.5, 0.75))
    )
    spoken = [member.oof[None] for member in three().members]
    whole, trimmed = Blend("greedy", parts), Blend("greedy", parts).without_zero_weights()
    assert [part.name for part in trimmed.members] == ["anna", "carl"]
    assert apply_blend(trimmed, [spoken[0], spoken[2]]) == pytest.approx(apply_blend(whole, spoken), abs=1e-12)
    unweighed = Blend("stack", tuple(replace(part, weight=None) for part in parts))
    assert unweighed.without_zero_weights() == unweighed


# ---- what changes nothing ----


@pytest.mark.parametrize("method", METHODS)
def test_neither_rows_nor_members_nor_views_have_an_order(method):
    labels = pd.Series([CLASSES[number] for number in truth_of()])

    def tables(order: np.random.Generator | None, names: list[str]) -> dict[str, dict[str, pd.DataFrame]]:
        made = {}
        for name in names:
            table = pd.DataFrame(opinions(ord(name[0]), 1.0)[0], three().images, list(CLASSES))
            table.insert(0, "label", labels.to_numpy())
            table.insert(1, "fold", three().folds)
            made[name] = {"identity": table if order is None else table.iloc[order.permutation(IMAGES)]}
        return made

    straight = build_pool(CLASSES, "accuracy", tables(None, ["anna", "bert", "carl"]))
    shuffled = build_pool(CLASSES, "accuracy", tables(np.random.default_rng(0), ["carl", "anna", "bert"]))
    assert np.array_equal(honest(straight, method), honest(shuffled, method))


@pytest.mark.parametrize(("method", "metric"), [*((method, "accuracy") for method in METHODS), ("greedy", "log_loss")])
def test_classes_have_no_order(method, metric):
    pool, turn = three(metric), np.array([2, 0, 3, 1])
    turned = replace(
        pool,
        classes=tuple(CLASSES[number] for number in turn),
        targets=np.argsort(turn)[pool.targets],
        members=tuple(replace(each, oof=each.oof[..., turn]) for each in pool.members),
    )
    before, after = honest(pool, method), honest(turned, method)
    assert np.allclose(before[:, turn], after, atol=2e-3 if method == "stack" else 1e-6)
    assert accuracy(pool, before) == pytest.approx(accuracy(turned, after), abs=0.005 * (method == "stack"))


@pytest.mark.parametrize("method", METHODS)
def test_a_blend_survives_its_note_bit_by_bit(method):
    pool = three()
    blend = everything(pool, method)
    again = Blend.from_spec(BlendSpec.from_dict(json.loads(json.dumps(blend.to_spec().to_dict())), "x.json"))
    spoken = [member.oof[None] for member in pool.members]
    assert np.array_equal(apply_blend(again, spoken), apply_blend(blend, spoken))
    assert [part.name for part in again.members] == ["anna", "bert", "carl"]


@pytest.mark.parametrize("method", METHODS)
def test_every_row_is_a_distribution(method):
    rows = honest(three(), method)
    assert (rows >= 0).all() and np.allclose(rows.sum(1), 1)


@pytest.mark.parametrize(
    ("truth", "folds"),
    [
        ([0] * 10 + [1] * 10, [0] * 10 + [1] * 10),
        ([0, 1], [0, 1]),
        ([0, 1], [0, 0]),
        ([0, 0, 0, 0, 1, 1] * 2, [0, 1, 2, 0, 0, 0] * 2),
    ],
)
@pytest.mark.filterwarnings("error")
def test_folds_that_leave_one_class_to_learn_from_choose_no_strength(truth, folds):
    voices = np.random.default_rng(0).dirichlet(np.ones(2), (2, len(truth)))
    assert np.allclose(fit_stack(voices, np.array(truth), np.array(folds))(voices).sum(1), 1)


def test_a_class_that_was_never_seen_is_never_called():
    pool = three()
    seen = pool.targets < 2
    pool = replace(
        pool,
        targets=pool.targets[seen],
        folds=pool.folds[seen],
        images=tuple(np.array(pool.images)[seen]),
        members=tuple(replace(each, oof=each.oof[:, seen]) for each in pool.members),
    )
    rows = honest(pool, "stack")
    assert rows[:, 2:].max() < 1e-6 and accuracy(pool, rows) > 0.6


# ---- who may not be blended ----


def table_of(name: str = "anna") -> pd.DataFrame:
    table = pd.DataFrame(opinions(1, 1.0)[0], three().images, list(CLASSES))
    table.insert(0, "label", [CLASSES[number] for number in truth_of()])
    table.insert(1, "fold", three().folds)
    return table


def relabelled(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(label=["b", *table["label"][1:]])


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (lambda table: table.iloc[:-1], "members predict different images .anna: 240 in fold 0,1,2,3; bert: 239"),
        (lambda table: table.rename(index={"img_0003": "three"}), "members predict different images"),
        (lambda table: table[table["fold"] != 2], "bert: 180 in fold 0,1,3.; train the same folds of each"),
        (lambda table: table.assign(fold=0), "another fold of img_000"),
        (relabelled, "another label of img_0000 than anna .b and a."),
    ],
)
def test_members_that_do_not_fit_are_refused_with_the_reason(other, complaint):
    with pytest.raises(UserError, match=complaint):
        build_pool(CLASSES, "accuracy", {"anna": {"identity": table_of()}, "bert": {"identity": other(table_of())}})


# ---- many ----


def test_200_members_of_3200_images_in_under_10_seconds_and_2_gb():
    draw = np.random.default_rng(0)
    truth = np.arange(3200) % 8
    members = []
    for number in range(200):
        logits = draw.normal(size=(1, 3200, 8))
        logits[0, np.arange(3200), truth] += draw.uniform(1, 3)
        members.append(
            MemberPredictions(
                f"m{number:03}",
                ("identity",),
                (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32),
            )
        )
    pool = Pool(
        tuple("abcdefgh"),
        "accuracy",
        tuple(f"{n:04}" for n in range(3200)),
        truth,
        draw.permutation(3200) % 5,
        tuple(members),
    )
    tracemalloc.start()  # numpy tells it of its arrays
    started = time.process_time()
    blend = fit_on_rows("greedy", fit_members(pool, np.arange(3200), MemberFitOptions()), pool)
    seconds, memory = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 10 and memory < 2e9
    assert sum(part.weight > 0 for part in blend.members) > 1
