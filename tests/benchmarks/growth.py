"""Training on a dataset laid out N times over: the images a second and the memory must not notice.

python tests/benchmarks/growth.py input/demo 16            one line of JSON: images, train_ips, loader_ips, peak_gb
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from comp.data.folds import make_folds, write_folds
from comp.data.scan import scan

PLACE = Path("runs/bench")


def repeated(root: Path, times: int) -> Path:
    """Links to every training image, so many times; below runs/, made afresh."""
    target = PLACE / f"{root.name}-{times}x"
    shutil.rmtree(target, ignore_errors=True)
    for image in scan(root).train:
        folder = target / "train" / image.label
        folder.mkdir(parents=True, exist_ok=True)
        for copy in range(times):
            (folder / f"{copy}-{image.path.name}").symlink_to(image.path.resolve())
    return target


def main() -> None:
    root, times = Path(sys.argv[1]), int(sys.argv[2])
    dataset = scan(repeated(root, times))
    split = PLACE / f"{dataset.name}.csv"
    groups = {image.id: image.id.partition("-")[2] for image in dataset.train}  # copies of an image stay together
    write_folds(split, make_folds(dataset, groups, 3, 42), dataset, 3, 42)
    words = ["-c", "configs/demo.yaml", f"data.root={dataset.root}", f"folds.file={split}"]
    raise SystemExit(
        subprocess.run([sys.executable, "-m", "comp", "bench", "--only", "train,loader", "--json", *words]).returncode
    )


if __name__ == "__main__":
    main()
