"""Shrink the images of drawn/ to PNGs of 16 px in input/tiny, and write a MedMNIST file of noise."""

from pathlib import Path

import cv2
import numpy as np

SIDE = 16

for path in sorted(Path("drawn").rglob("*")):
    target = Path("input/tiny") / path.relative_to("drawn")
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        cv2.imwrite(
            str(target.with_suffix(".png")),
            cv2.resize(cv2.imread(str(path)), (SIDE, SIDE), interpolation=cv2.INTER_AREA),
        )
    elif path.is_file():
        target.write_text(path.read_text().replace(".jpg", ".png"))

rng = np.random.default_rng(0)
counts = {"train": 6, "val": 2, "test": 2}
np.savez_compressed(
    "input/official.npz",
    **{
        f"{part}_{kind}": array
        for part, count in counts.items()
        for kind, array in (
            ("images", rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)),
            ("labels", (np.arange(count, dtype=np.uint8) % 2)[:, None]),
        )
    },
)
