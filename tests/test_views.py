from __future__ import annotations

import pytest
import torch

from comp.engine.views import TTA, VIEWS

PICTURE = torch.arange(2 * 3 * 5 * 5).view(2, 3, 5, 5)


@pytest.mark.parametrize("name", VIEWS)
def test_undo_takes_back_apply(name):
    view = VIEWS[name]
    assert torch.equal(view.undo(view.apply(PICTURE)), PICTURE)


def test_the_eight_views_are_eight_and_closed():
    seen = {view.apply(PICTURE).numpy().tobytes() for view in VIEWS.values()}
    assert len(seen) == 8
    assert all(a.apply(b.apply(PICTURE)).numpy().tobytes() in seen for a in VIEWS.values() for b in VIEWS.values())


def test_names_say_what_a_view_does():
    assert torch.equal(VIEWS["hflip"].apply(PICTURE), PICTURE.flip(-1))
    assert torch.equal(VIEWS["vflip"].apply(PICTURE), PICTURE.flip(-2))
    assert torch.equal(VIEWS["transpose"].apply(PICTURE), PICTURE.transpose(-1, -2))
    assert torch.equal(VIEWS["antitranspose"].apply(PICTURE), PICTURE.flip(-1, -2).transpose(-1, -2))
    assert torch.equal(VIEWS["identity"].apply(PICTURE), PICTURE)


def test_every_set_of_views_holds_the_picture_itself():
    assert all(names[0] == "identity" and set(names) <= set(VIEWS) for names in TTA.values())
