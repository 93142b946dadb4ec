"""The competition kit: from a folder of images to the top of a leaderboard. docs/design.md draws its layers.

In a notebook or a program, in the words of the commands:

>>> import comp
>>> run = comp.train("configs/demo.yaml", name="first", **{"train.epochs": 1})  # doctest: +ELLIPSIS
runs/first: ...
>>> run.oof().columns[:3].tolist()
['image', 'label', 'fold']
>>> run.predict("input/demo/test/img_0.jpg")["answer"].item() in run.oof().columns
True
>>> submission = comp.infer(run)  # doctest: +ELLIPSIS
OOF accuracy ...
>>> submission.path.as_posix()
'submissions/first.csv'
>>> comp.command("submit check submissions/first.csv --yes")  # doctest: +ELLIPSIS
submissions/first.csv...

`import comp` imports no library but this; torch and pandas are imported by the first call that needs them. Paths are
relative to the current directory, which is the kit's: it has configs/, input/, runs/ and submissions/.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comp.api.calls import command, infer, train
    from comp.api.loaded_run import LoadedRun, Report, load
    from comp.errors import UserError

_HOMES = {
    **dict.fromkeys(("command", "infer", "train"), "comp.api.calls"),
    **dict.fromkeys(("LoadedRun", "Report", "load"), "comp.api.loaded_run"),
    "UserError": "comp.errors",
}
__all__ = ["LoadedRun", "Report", "UserError", "command", "infer", "load", "train"]

# Packages whose modules register models with timm. They are imported when a model is first looked up by name, so the
# papers' models work in every program although no module of the kit imports them.
MODEL_PACKAGES = ("comp.zoo", "comp.papers.models")


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
