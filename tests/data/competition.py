"""Tiny drawn competitions, to adopt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from comp.data.adopt.conclude import conclude
from comp.data.adopt.options import AdoptOptions, Conclusion, Findings


class Competition:
    """A folder to draw a competition in."""

    def __init__(self, root: Path):
        self.root = root

    def images(self, *names: str, side: int = 64) -> None:
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(path)

    def table(self, name: str, *rows: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text("\n".join(rows) + "\n")

    def json(self, name: str, content: object) -> None:
        (self.root / name).write_text(json.dumps(content))

    def labelled(self, header: str, labels: list[str], sample: str, *, suffix: str = ".png", ids: str = "") -> None:
        """Draw train/a0.png ... and test/b0.png ..., with train.csv and a sample filled with `sample`."""
        rows = [f"a{index}{ids},{label}" for index, label in enumerate(labels)]
        self.images(*(f"train/a{index}{suffix}" for index in range(len(labels))), "test/b0.png", "test/b1.png")
        self.table("train.csv", header, *rows)
        self.table("sample_submission.csv", header, f"b0{ids},{sample}", f"b1{ids},{sample}")

    def adopt(self, **options) -> Conclusion:
        self.findings: Findings = []
        return conclude(self.root, AdoptOptions(**options), self.findings)

    def evidence(self, key: str) -> str:
        """Return the evidence that was printed for a key, or an empty text."""
        return next((finding.evidence for finding in self.findings if finding.key == key), "")
