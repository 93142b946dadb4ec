"""A GPU holds the models of one member at a time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from comp.blending import members as members_module
from comp.blending.members import Members, predict_oof, predict_test
from comp.blending.options import InferOptions


class Predictor:
    """A predictor that loads networks when it predicts, while no other one of `everyone` has any."""

    def __init__(self, name: str, everyone: list[Predictor]):
        self.run = SimpleNamespace(
            name=name, classes=("a", "b"), task=None, record=SimpleNamespace(metric="accuracy"), config=None
        )
        self.networks: list[str] = []
        self.everyone = everyone
        everyone.append(self)

    def predict(self, views):
        assert not any(other.networks for other in self.everyone if other is not self)
        self.networks.append("network")
        return [[] for _ in views]

    predict_oof = predict_test = predict

    def release_networks(self):
        self.networks.clear()


@pytest.fixture
def members(monkeypatch) -> Members:
    monkeypatch.setattr(members_module, "build_pool", lambda *_: None)
    monkeypatch.setattr(members_module, "drop_duplicate_members", lambda pool: (pool, {}))
    monkeypatch.setattr(members_module, "stack_tables", lambda *_: np.zeros((1, 2)))
    monkeypatch.setattr(members_module, "apply_blend", lambda *_: np.zeros((1, 2)))
    everyone: list[Predictor] = []
    return Members({name: Predictor(name, everyone) for name in ("anna", "bert")})


def test_predict_members_free_their_networks_for_the_next_member(members):
    predict_oof(members, InferOptions(tta="flips"))
    blend = SimpleNamespace(members=[SimpleNamespace(name=name, views=("identity",)) for name in ("anna", "bert")])
    predict_test(blend, members, [SimpleNamespace(id="x")], SimpleNamespace(ids=["x"]))
    assert not any(predictor.networks for predictor in members.predictors.values())
