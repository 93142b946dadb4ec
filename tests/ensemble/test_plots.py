"""Every plot of a blend is drawn without a warning, also if weights, gains or latencies are unknown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from comp.ensemble.calibrate import Confidence
from comp.ensemble.plots import CandidateConfidence, draw_blend, draw_reliability
from tests.ensemble.tables import make_candidates, make_member_table


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("missing", [{}, {"weights": False}, {"fitted": False}, {"gains": False}])
@pytest.mark.parametrize("count", [1, 2, 16])
def test_draw_blend_any_number_of_members_writes_an_image(count, missing, tmp_path):
    members = make_member_table(count, **missing)
    correlation = pd.DataFrame(np.eye(count), members["name"], members["name"])
    draw_blend(tmp_path / "blend.png", "a blend", "accuracy", members, correlation)
    with Image.open(tmp_path / "blend.png") as image:
        assert min(image.size) > 200


def soften(probabilities: np.ndarray) -> np.ndarray:
    return probabilities**0.5 / (probabilities**0.5).sum(1, keepdims=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 5, 9])
def test_draw_reliability_few_or_many_candidates_writes_an_image(count, tmp_path, monkeypatch):
    monkeypatch.setattr("comp.ensemble.plots.MAX_PANELS", 6)
    targets, candidates = make_candidates(count)
    confidences = [
        CandidateConfidence(name, *(Confidence.of(targets, values) for values in (before, soften(before))), 2.0)
        for name, before in candidates.items()
    ]
    draw_reliability(tmp_path / "reliability.png", "reliability", confidences)
    with Image.open(tmp_path / "reliability.png") as image:
        assert min(image.size) > 200
