"""Names, views and words of a blend, without any prediction."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from comp.blending.fit import _member_fit_options, unfitted_blend
from comp.blending.options import InferOptions, check_options
from comp.blending.report import describe_blend
from comp.engine.views import TTA
from comp.ensemble.blend import Blend
from comp.errors import UserError
from comp.records.blend import BlendMember
from comp.tasks import single_label


def run(name: str, tta: str = "none") -> SimpleNamespace:
    return SimpleNamespace(name=name, task=single_label("ab"), config=SimpleNamespace(infer=SimpleNamespace(tta=tta)))


@pytest.mark.parametrize(
    ("runs", "options", "name"),
    [
        ([run("a")], InferOptions(), "a"),
        ([run("a/b"), run("c")], InferOptions(), "a-b+c"),
        ([run("a")], InferOptions("greedy", calibrate=False), "a+greedy+no-temperature"),
        ([run("a", "d4"), run("b")], InferOptions(tta="d4"), "a+b+d4"),  # one has other views of its own
        ([run("a", "d4"), run("b", "d4")], InferOptions(tta="d4"), "a+b"),
        ([run("a")], InferOptions(full=True, calibrate=False), "a+full"),
        ([run("a" * 101)], InferOptions("vote"), "vote-of-1-9d079339"),
        ([run("a")], InferOptions("vote", name="mine"), "mine"),
    ],
)
def test_check_options_name_tells_submissions_apart(runs, options, name):
    assert check_options(runs, options).name == name


def test_unfitted_blend_is_the_mean_of_each_runs_own_views_by_name():
    runs = [run("b", "flips"), run("a")]
    members = SimpleNamespace(runs=runs, task=single_label("ab"))
    expected = [("a", tuple(TTA["none"])), ("b", tuple(TTA["flips"]))]
    blend = unfitted_blend(members, InferOptions(full=True))
    assert [(part.name, part.views) for part in blend.members] == expected
    assert {(part.temperature, part.weight) for part in blend.members} == {(1.0, 0.5)}
    parts = unfitted_blend(members, InferOptions(full=True, tta="d4")).members
    assert {part.views for part in parts} == {tuple(TTA["d4"])}


@pytest.mark.parametrize(("budget", "max_views"), [(None, 8), (1.0, 1), (1.99, 1), (2.9, 2), (100.0, 8)])
def test_member_fit_options_budget_is_never_exceeded(budget, max_views):
    """Two members of 2 and 8 ms: a view of 100 images takes a second."""
    members = SimpleNamespace(predictors={"a": 2.0, "b": 8.0}, view_latency_ms={"a": 2.0, "b": 8.0}.__getitem__)
    options = InferOptions(tta="auto", budget_seconds=budget)
    assert _member_fit_options(members, options, 100).max_views == max_views
    with pytest.raises(UserError, match="one view of the test images"):
        _member_fit_options(members, InferOptions(tta="auto", budget_seconds=0.99), 100)


def test_describe_blend_names_the_heaviest_members_first():
    views = tuple(TTA["flips"])
    parts = tuple(BlendMember(f"m{number}", views[: 1 + number % 2], 1.0, number / 28) for number in range(8))
    assert describe_blend(Blend(single_label("ab"), "greedy", parts)) == (
        "m7 (2 views) x 0.25, m6 (1 view) x 0.21, m5 (2 views) x 0.18, m4 (1 view) x 0.14, m3 (2 views) x 0.11, "
        "m2 (1 view) x 0.07 and 2 more"
    )
    assert describe_blend(Blend(single_label("ab"), "mean", parts[1:2])) == "m1 (2 views)"
