"""Members are joined by image id, copies count once, and members of other images are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from comp.ensemble.blend import METHODS
from comp.ensemble.pool import build_pool, drop_duplicate_members
from comp.errors import UserError
from tests.ensemble.pools import (
    CLASSES,
    IMAGES,
    TASK,
    accuracy,
    cross_fitted,
    make_probabilities,
    make_targets,
    three_members,
)


def oof_table(seed: int = 1) -> pd.DataFrame:
    table = pd.DataFrame(make_probabilities(seed, 1.0)[0], three_members().images, list(CLASSES))
    table.insert(0, "label", [CLASSES[index] for index in make_targets()])
    table.insert(1, "fold", three_members().folds)
    return table


@pytest.mark.parametrize("method", METHODS)
def test_blend_duplicate_member_keeps_score(method):
    pool, copies = drop_duplicate_members(three_members())
    with_copy = replace(pool, members=(*pool.members, replace(pool.members[0], name="zoe")))
    without_copy, copies_of = drop_duplicate_members(with_copy)
    assert copies == {} and copies_of == {"zoe": "anna"}
    assert np.array_equal(cross_fitted(without_copy, method), cross_fitted(pool, method))


@pytest.mark.parametrize("method", ["greedy", "weights"])
def test_blend_duplicate_member_that_stays_keeps_fitted_predictions(method):
    pool = three_members()
    with_copy = replace(pool, members=(*pool.members, replace(pool.members[0], name="zoe")))
    before, after = cross_fitted(pool, method), cross_fitted(with_copy, method)
    assert np.allclose(after, before, atol=1e-3)
    assert accuracy(pool, after) == pytest.approx(accuracy(pool, before), abs=0.005)


@pytest.mark.parametrize("method", METHODS)
def test_build_pool_order_of_rows_and_members_has_no_effect(method):
    def tables(rng: np.random.Generator | None, names: list[str]) -> dict[str, dict[str, pd.DataFrame]]:
        by_member = {name: oof_table(ord(name[0])) for name in names}
        return {
            name: {"identity": table if rng is None else table.iloc[rng.permutation(IMAGES)]}
            for name, table in by_member.items()
        }

    ordered = build_pool(TASK, "accuracy", tables(None, ["anna", "bert", "carl"]))
    shuffled = build_pool(TASK, "accuracy", tables(np.random.default_rng(0), ["carl", "anna", "bert"]))
    assert np.array_equal(cross_fitted(ordered, method), cross_fitted(shuffled, method))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.iloc[:-1], "members predict different images .anna: 240 in fold 0,1,2,3; bert: 239"),
        (lambda table: table.rename(index={"img_0003": "three"}), "members predict different images"),
        (lambda table: table[table["fold"] != 2], "bert: 180 in fold 0,1,3.; train the same folds of each"),
        (lambda table: table.assign(fold=0), "another fold of img_000"),
        (lambda table: table.assign(label=["b", *table["label"][1:]]), "another label of img_0000 than anna .b and a."),
    ],
)
def test_build_pool_members_of_other_images_are_an_error(change, message):
    with pytest.raises(UserError, match=message):
        build_pool(TASK, "accuracy", {"anna": {"identity": oof_table()}, "bert": {"identity": change(oof_table())}})


def test_drop_duplicate_members_without_images_has_no_copies():
    pool = three_members()
    members = tuple(replace(member, oof=member.oof[:, :0]) for member in pool.members)
    kept, copies = drop_duplicate_members(replace(pool, members=members, images=()))
    assert copies == {} and [member.name for member in kept.members] == ["anna", "bert", "carl"]


def test_build_pool_sorts_images_and_members_and_keeps_the_order_of_views():
    table = oof_table().iloc[::-1]
    views = {"b": ("vflip", "identity"), "a": ("identity",)}
    pool = build_pool(TASK, "accuracy", {name: dict.fromkeys(views[name], table) for name in views})
    assert list(pool.images) == sorted(pool.images) and pool.labels == tuple(oof_table()["label"])
    assert [(member.name, member.views) for member in pool.members] == sorted(views.items())
    assert pool.members[1].oof.shape == (2, IMAGES, 4) and np.array_equal(pool.folds, oof_table()["fold"])
    assert np.array_equal(pool.targets, make_targets())
