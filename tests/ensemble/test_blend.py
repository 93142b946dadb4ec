"""Blends with a known result, which does not depend on the order of members or classes."""

from __future__ import annotations

import json
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from comp.ensemble import blend as blends
from comp.ensemble.blend import METHODS, Blend, BlendMember, combine_members
from comp.ensemble.crossfit import MemberFitOptions, fit_members, fit_on_rows
from comp.ensemble.pool import MemberPredictions, Pool
from comp.errors import UserError
from comp.records.blend import BlendSpec
from comp.records.task import TaskSpec
from comp.rows import Rows
from comp.tasks import make_task, single_label
from tests.ensemble.pools import (
    CLASSES,
    TASK,
    accuracy,
    cross_fitted,
    fit_on_all,
    make_pool,
    make_probabilities,
    stack_members,
    three_members,
)

FITTED = ("greedy", "weights", "stack")


def combine(method: str, probabilities: np.ndarray) -> np.ndarray:
    """Blend members of equal weight."""
    weight = 1 / len(probabilities)
    members = tuple(BlendMember(f"m{index}", ("identity",), 1.0, weight) for index in range(len(probabilities)))
    return combine_members(Blend(TASK, method, members), probabilities)


@pytest.mark.parametrize("method", FITTED)
def test_fit_blend_perfect_member_wins(method):
    perfect = make_probabilities(0, 30.0)
    pool = make_pool(anna=make_probabilities(1, 1.0), perfect=perfect, noise=make_probabilities(2, 0.0))
    assert accuracy(pool, cross_fitted(pool, method)) == 1
    if method != "stack":
        weights = {member.name: member.weight for member in fit_on_all(pool, method).members}
        assert weights["perfect"] > 0.99


@pytest.mark.parametrize("method", ["greedy", "weights"])
def test_fit_blend_members_of_noise_get_little_weight(method):
    noise = {f"noise{seed}": make_probabilities(100 + seed, 0.0, images=1200) for seed in range(5)}
    pool = make_pool("log_loss", 1200, carl=make_probabilities(3, 3.0, images=1200), **noise)
    weights = {member.name: member.weight for member in fit_on_all(pool, method).members}
    assert weights.pop("carl") > 0.9 and max(weights.values()) < 0.05


def test_combine_members_mean_and_geometric_mean_by_hand():
    probabilities = stack_members([[0.8, 0.2]], [[0.2, 0.8]], [[0.5, 0.5]])
    assert combine("mean", probabilities) == pytest.approx(np.array([[0.5, 0.5]]))
    two = stack_members([[0.9, 0.1]], [[0.5, 0.5]])
    assert combine("geometric", two) == pytest.approx(np.array([[0.75, 0.25]]))  # 3 to 1, as sqrt(0.45) to sqrt(0.05)
    assert np.isfinite(combine("geometric", stack_members([[1.0, 0.0]], [[0.0, 1.0]]))).all()


def test_combine_members_vote_ignores_confidence():
    probabilities = stack_members([[0.51, 0.49, 0]], [[0.51, 0.49, 0]], [[0, 1, 0]])
    assert combine("vote", probabilities).argmax(1).tolist() == [0]
    assert combine("vote", probabilities) == pytest.approx(np.array([[2.5, 1, 0]]) / 3.5)


def test_combine_members_tied_vote_takes_the_higher_mean_probability():
    probabilities = stack_members([[0.6, 0.4, 0]], [[0.1, 0.9, 0]])
    assert combine("vote", probabilities).argmax(1).tolist() == [1]


def test_combine_members_vote_and_mean_tied_takes_the_first_name():
    probabilities = stack_members([[0, 0.75, 0.25]], [[0, 0.25, 0.75]])
    assert combine("vote", probabilities).argmax(1).tolist() == [1]
    assert combine("vote", probabilities[::-1]).argmax(1).tolist() == [2]


@pytest.mark.parametrize("method", METHODS)
def test_combine_members_rows_are_distributions(method):
    rows = cross_fitted(three_members(), method)
    assert (rows >= 0).all() and np.allclose(rows.sum(1), 1)


def apply_blend(blend: Blend, view_predictions: list[np.ndarray]) -> np.ndarray:
    """Apply a blend where each image is a row."""
    images = view_predictions[0].shape[-2]
    return blends.apply_blend(blend, view_predictions, Rows.of_images([str(image) for image in range(images)]))


def test_apply_blend_pools_images_to_rows_before_the_temperature():
    images = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])[None, None]
    blend = Blend(TASK, "mean", (BlendMember("m", ("identity",), 0.5, 1.0),))
    rows = blends.apply_blend(blend, [images], Rows.of_images(["x", "x", "y"]))
    assert rows == pytest.approx(np.array([[0.64, 0.04], [0.04, 0.64]]) / 0.68)


def test_apply_blend_uses_the_chosen_views_of_test_images():
    views = np.concatenate([make_probabilities(1, 2.0), make_probabilities(50, -1.0), make_probabilities(2, 2.0)])
    pool = make_pool(anna=views)
    blend = fit_on_all(pool, "mean", MemberFitOptions(calibrate=False, max_views=3))
    assert blend.members[0].views == ("identity", "vflip") and blend.members[0].temperature == 1
    test = pool.members[0].oof[[0, 2]][None]
    assert apply_blend(blend, [test]) == pytest.approx(test[0].mean(0), abs=1e-6)


def test_apply_blend_temperature_acts_before_folds_and_views_are_averaged():
    confident, unsure = stack_members([[0.9, 0.1]])[0], stack_members([[0.4, 0.6]])[0]
    view_probabilities = np.stack([confident, unsure])[:, None]  # two fold models, one view
    blend = Blend(TASK, "mean", (BlendMember("m", ("identity",), 0.5, 1.0),))
    sharper = [np.array([[0.81, 0.01]]) / 0.82, np.array([[0.16, 0.36]]) / 0.52]
    assert apply_blend(blend, [view_probabilities]) == pytest.approx((sharper[0] + sharper[1]) / 2)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 3.0])
def test_average_views_applies_any_temperature_and_leaves_the_bits_without_one(temperature):
    views = np.array([[[0.9, 0.1], [0.3, 0.7]], [[0.5, 0.5], [1e-40, 1]]])[None]
    raised = views ** (1 / temperature)
    expected = (raised / raised.sum(-1, keepdims=True)).mean((0, 1))
    assert blends.average_views(TASK, views, temperature) == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(blends.average_views(TASK, views, 1.0), views.mean((0, 1)))


def test_blend_zero_weight_member_can_be_dropped():
    members = tuple(
        BlendMember(name, ("identity",), temperature, weight)
        for name, temperature, weight in (("anna", 2.0, 0.25), ("bert", 3.0, 0.0), ("carl", 0.5, 0.75))
    )
    probabilities = [member.oof[None] for member in three_members().members]
    whole, trimmed = Blend(TASK, "greedy", members), Blend(TASK, "greedy", members).without_zero_weights()
    assert [member.name for member in trimmed.members] == ["anna", "carl"]
    assert apply_blend(trimmed, [probabilities[0], probabilities[2]]) == pytest.approx(
        apply_blend(whole, probabilities), abs=1e-12
    )
    stack = Blend(TASK, "stack", tuple(replace(member, weight=None) for member in members))
    assert stack.without_zero_weights() == stack


@pytest.mark.parametrize("method", METHODS)
def test_blend_from_its_json_predicts_the_same_bits(method):
    pool = three_members()
    blend = fit_on_all(pool, method)
    content = json.loads(json.dumps(blend.to_spec().to_dict()))
    restored = Blend.from_spec(BlendSpec.from_dict(content, "x.json"), CLASSES)
    probabilities = [member.oof[None] for member in pool.members]
    assert np.array_equal(apply_blend(restored, probabilities), apply_blend(blend, probabilities))
    assert [member.name for member in restored.members] == ["anna", "bert", "carl"]


def test_blend_from_its_json_has_its_task_and_its_decision():
    task = make_task(TaskSpec("binary", ("no", "yes")))
    blend = Blend(task, "mean", (BlendMember("m", ("identity",), 1.0, 1.0),), decision=(0.25,))
    restored = Blend.from_spec(BlendSpec.from_dict(json.loads(json.dumps(blend.to_spec().to_dict())), "x.json"), ())
    views = np.array([[0.8, 0.2], [0.7, 0.3], [0.74, 0.26]])[None, None]
    assert restored.task.kind == "binary" and restored.decision == (0.25,)
    assert apply_blend(restored, [views]).argmax(1).tolist() == [0, 1, 1]


@pytest.mark.parametrize("off", [0.0, 0.9e-6, -0.9e-6])
def test_blend_from_a_record_whose_weights_sum_to_one_but_for_rounding(off):
    parts = [{**PART, "weight": 0.5 + off}, {**PART, "name": "bert"}]
    blend = Blend.from_spec(BlendSpec.from_dict({"method": "weights", "parts": parts}, "x.json"), CLASSES)
    assert [member.weight for member in blend.members] == [0.5 + off, 0.5]
    wrong = [{**PART, "weight": 0.5 + 1.1e-6}, {**PART, "name": "bert"}]
    with pytest.raises(UserError, match="sum to 1"):
        Blend.from_spec(BlendSpec.from_dict({"method": "weights", "parts": wrong}, "x.json"), CLASSES)


@pytest.mark.parametrize(("method", "metric"), [*((method, "accuracy") for method in METHODS), ("greedy", "log_loss")])
def test_blend_order_of_classes_has_no_effect(method, metric):
    pool, order = three_members(metric), np.array([2, 0, 3, 1])
    reordered = replace(
        pool,
        task=single_label(CLASSES[index] for index in order),
        members=tuple(replace(member, oof=member.oof[..., order]) for member in pool.members),
    )
    before, after = cross_fitted(pool, method), cross_fitted(reordered, method)
    assert np.allclose(before[:, order], after, atol=2e-3 if method == "stack" else 1e-6)
    assert accuracy(pool, before) == pytest.approx(accuracy(reordered, after), abs=0.005 * (method == "stack"))


def test_fit_blend_200_members_of_3200_images_take_under_10_seconds_and_2_gb():
    rng = np.random.default_rng(0)
    targets = np.arange(3200) % 8
    members = []
    for index in range(200):
        logits = rng.normal(size=(1, 3200, 8))
        logits[0, np.arange(3200), targets] += rng.uniform(1, 3)
        probabilities = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)
        members.append(MemberPredictions(f"m{index:03}", ("identity",), probabilities))
    images, folds = tuple(f"{index:04}" for index in range(3200)), rng.permutation(3200) % 5
    eight = single_label("abcdefgh")
    pool = Pool(eight, "accuracy", images, tuple("abcdefgh"[index] for index in targets), folds, tuple(members))
    tracemalloc.start()  # numpy reports its arrays to it
    start = time.process_time()
    blend = fit_on_rows("greedy", fit_members(pool, np.arange(3200), MemberFitOptions()), pool)
    seconds, memory = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 10 and memory < 2e9
    assert sum(member.weight > 0 for member in blend.members) > 1


PART = {"name": "anna", "views": ["identity"], "temperature": 1.0, "weight": 0.5}
PARTS = [PART, {**PART, "name": "bert"}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "meen"}, "there is no blend 'meen'; did you mean mean?"),
        ({"parts": []}, "has the members none"),
        ({"parts": [PART, PART]}, "has the members anna, anna"),
        ({"parts": [{**PART, "weight": 1.0, "views": []}]}, "anna has the views none"),
        ({"parts": [{**PART, "weight": 1.0, "views": ["hflip", "hflip"]}]}, "anna has the views hflip, hflip"),
        ({"parts": [PART, {**PARTS[1], "temperature": 0.0}]}, "bert has the temperature 0,"),
        ({"parts": [PART, {**PARTS[1], "temperature": -1.5}]}, "bert has the temperature -1.5,"),
        ({"parts": [PART]}, "have the weights 0.5, which must be 0 or more and sum to 1"),
        ({"parts": [PART, {**PARTS[1], "weight": 0.6}]}, "have the weights 0.5, 0.6,"),
        ({"parts": [{**PART, "weight": 1.5}, {**PARTS[1], "weight": -0.5}]}, "have the weights 1.5, -0.5,"),
        ({"parts": [PART, {**PARTS[1], "weight": None}]}, "have the weights 0.5, none,"),
        ({"method": "stack"}, "the stack needs a row of 0 coefficients"),
        ({"method": "stack", "stack": {"coefficients": [[1.0, 2.0]], "intercepts": [0.0, 0.0]}}, "a row of 4"),
    ],
)
def test_blend_from_an_edited_record_is_refused(changes, message):
    good = {"method": "mean", "parts": PARTS}
    assert Blend.from_spec(BlendSpec.from_dict(good, "x.json"), CLASSES).method == "mean"
    with pytest.raises(UserError, match=r"x\.json: .*; restore it, or make the submission again") as caught:
        Blend.from_spec(BlendSpec.from_dict({**good, **changes}, "x.json"), CLASSES, "x.json")
    assert message in str(caught.value)
