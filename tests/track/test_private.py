"""Nothing that is sent to W&B names a path of this machine."""

from __future__ import annotations

import pytest

from comp.track.private import without_paths


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("/kaggle/input/cells", "cells"),
        ("train.py -c /home/ada/x.yaml data.root=/data/cells", "train.py -c x.yaml data.root=cells"),
        ("~/runs/demo", "demo"),
        (r"C:\Users\ada\cells", "cells"),
        ("infer.py '/home/ada/a run'", "infer.py 'a run'"),
        ("input/cells", "input/cells"),
        ("../data/cells", "../data/cells"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("true / false", "true / false"),
    ],
)
def test_without_paths_keeps_the_last_part_of_an_absolute_path(text, sent):
    assert without_paths({"key": [text, 1, None]}) == {"key": [sent, 1, None]}
