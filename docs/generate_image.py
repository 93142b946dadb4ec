"""Draw docs/images/augmentation.jpg, the image of the README: the demo's classes before and after augmentation.

python docs/generate_image.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

TARGET = Path(__file__).resolve().parent / "images" / "augmentation.jpg"
SHOW = [
    "-m",
    "comp",
    "data",
    "show",
    "-c",
    "configs/demo.yaml",
    "augment.policy=paper",
    "augment.device=cpu",
    "--columns",
    "6",
]


def main() -> None:
    subprocess.run([sys.executable, "-m", "comp", "data", "demo"], check=True)
    with tempfile.TemporaryDirectory() as directory:
        sheet = Path(directory) / "sheet.png"
        subprocess.run([sys.executable, *SHOW, "--out", str(sheet)], check=True)
        Image.open(sheet).save(TARGET, quality=85, optimize=True)  # 115 kB; the PNG has 0.8 MB
    print(f"wrote {TARGET.name}: {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
