"""The notebook of a bundle: what it needs, where things are, one call."""

from __future__ import annotations

import json

# what is imported by comp/ship/bundle_runtime.py; every one of them is in Kaggle's image
REQUIRED_PACKAGES = (
    "torch",
    "timm",
    "torchvision",
    "numpy",
    "pandas",
    "cv2",
    "PIL",
    "pydantic",
    "yaml",
    "filelock",
    "tqdm",
    "scipy",
    "sklearn",
)

INTRO_CELL = """# {name}

Writes `submission.csv` without internet. Add the bundle as a dataset and the competition's data as inputs; a GPU is
used if there is one.
"""

SETUP_CELL = """import importlib.util, json, os, sys
from pathlib import Path

NAME = {name!r}
ROOT = None  # the competition's folder, with test/ and the sample; None: it is looked for below INPUT
missing = [name for name in {needs} if importlib.util.find_spec(name) is None]
missing += [] if sys.version_info >= (3, 11) else ["Python 3.11"]
if missing:
    raise ImportError(f"this needs {{', '.join(missing)}}; take the latest environment in the notebook's settings")

INPUT = Path(os.environ.get("COMP_INPUT", "/kaggle/input"))
BUNDLES = [file.parent for depth in range(1, 5) for file in INPUT.glob("*/" * depth + "bundle.json")
           if json.loads(file.read_text())["name"] == NAME]
if not BUNDLES:
    raise FileNotFoundError(f"the bundle {{NAME}} is not below {{INPUT}}; add it to the notebook's inputs")"""

PREDICT_CELL = """sys.path.insert(0, str(BUNDLES[0]))
from comp.ship.bundle_runtime import write_bundle_submission

took = write_bundle_submission(BUNDLES[0], INPUT, ROOT)"""


def notebook(name: str) -> str:
    cells = [
        _cell("markdown", INTRO_CELL.format(name=name)),
        _cell("code", SETUP_CELL.format(name=name, needs=list(REQUIRED_PACKAGES))),
        _cell("code", PREDICT_CELL),
    ]
    return json.dumps(
        {
            "cells": cells,
            "nbformat": 4,
            "nbformat_minor": 4,
            "metadata": {
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                "language_info": {"name": "python"},
            },
        },
        indent=1,
    )


def code_cells(notebook: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]


def _cell(kind: str, text: str) -> dict:
    about = {"cell_type": kind, "metadata": {}, "source": text.strip().splitlines(keepends=True)}
    return about if kind == "markdown" else {**about, "execution_count": None, "outputs": []}
