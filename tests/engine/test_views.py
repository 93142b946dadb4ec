from __future__ import annotations

import torch

from comp.engine.views import TTA, VIEWS

IMAGES = torch.arange(2 * 3 * 5 * 5).view(2, 3, 5, 5)


def test_views_are_eight_distinct_and_closed():
    seen = {view.apply(IMAGES).numpy().tobytes() for view in VIEWS.values()}
    assert len(seen) == 8
    assert all(a.apply(b.apply(IMAGES)).numpy().tobytes() in seen for a in VIEWS.values() for b in VIEWS.values())


def test_views_names_match_their_geometry():
    for turns, name in enumerate(("identity", "rot90", "rot180", "rot270")):  # counter-clockwise
        assert torch.equal(VIEWS[name].apply(IMAGES), torch.rot90(IMAGES, turns, (-2, -1)))
    assert torch.equal(VIEWS["hflip"].apply(IMAGES), IMAGES.flip(-1))
    assert torch.equal(VIEWS["vflip"].apply(IMAGES), IMAGES.flip(-2))
    assert torch.equal(VIEWS["transpose"].apply(IMAGES), IMAGES.transpose(-1, -2))
    assert torch.equal(VIEWS["antitranspose"].apply(IMAGES), IMAGES.flip(-1, -2).transpose(-1, -2))
    assert torch.equal(VIEWS["identity"].apply(IMAGES), IMAGES)


def test_tta_sets_start_with_identity():
    assert all(names[0] == "identity" and set(names) <= set(VIEWS) for names in TTA.values())
