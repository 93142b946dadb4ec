"""The notebook of a bundle: it checks what is installed, finds the bundle, and makes one call."""

from __future__ import annotations

import json
from typing import Any

# imported by comp/ship/bundle_runtime.py; all of them are in Kaggle's image
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
ROOT = None  # the competition's directory, with test/ and the sample; None: find it below INPUT
missing = [name for name in {packages} if importlib.util.find_spec(name) is None]
missing += [] if sys.version_info >= (3, 11) else ["Python 3.11"]
if missing:
    raise ImportError(f"missing: {{', '.join(missing)}}; take the latest environment in the notebook's settings")

INPUT = Path(os.environ.get("COMP_INPUT", "/kaggle/input"))
BUNDLES = [file.parent for depth in range(1, 5) for file in INPUT.glob("*/" * depth + "bundle.json")
           if json.loads(file.read_text())["name"] == NAME]
if not BUNDLES:
    raise FileNotFoundError(f"the bundle {{NAME}} is not below {{INPUT}}; add it to the notebook's inputs")"""

PREDICT_CELL = """sys.path.insert(0, str(BUNDLES[0]))
from comp.ship.bundle_runtime import write_bundle_submission

timing = write_bundle_submission(BUNDLES[0], INPUT, ROOT)"""


def notebook(name: str) -> str:
    """Return the JSON of the notebook of the bundle `name`."""
    cells = [
        _cell("markdown", INTRO_CELL.format(name=name)),
        _cell("code", SETUP_CELL.format(name=name, packages=list(REQUIRED_PACKAGES))),
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
    """Return the source of each code cell."""
    return ["".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]


def _cell(kind: str, text: str) -> dict[str, Any]:
    cell = {"cell_type": kind, "metadata": {}, "source": text.strip().splitlines(keepends=True)}
    return cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []}
