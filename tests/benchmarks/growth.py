"""Measure training on a dataset repeated N times: images/s and memory must not change.

python tests/benchmarks/growth.py input/demo 16            one line of JSON: images, train_ips, loader_ips, peak_gb
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from comp.data.folds import make_folds, write_folds
from comp.data.scan import scan

OUTPUT = Path("runs/bench")


def link_images(root: Path, times: int) -> Path:
    """Return a new dataset below runs/ with `times` links to every training image."""
    target = OUTPUT / f"{root.name}-{times}x"
    shutil.rmtree(target, ignore_errors=True)
    for image in scan(root).train:
        directory = target / "train" / image.label
        directory.mkdir(parents=True, exist_ok=True)
        for copy in range(times):
            (directory / f"{copy}-{image.path.name}").symlink_to(image.path.resolve())
    return target


def main() -> None:
    root, times = Path(sys.argv[1]), int(sys.argv[2])
    dataset = scan(link_images(root, times))
    split = OUTPUT / f"{dataset.name}.csv"
    groups = {image.id: image.id.partition("-")[2] for image in dataset.train}  # copies of an image stay together
    write_folds(split, make_folds(dataset, groups, 3, 42), dataset, 3, 42)
    arguments = ["-c", "configs/demo.yaml", f"data.root={dataset.root}", f"folds.file={split}"]
    raise SystemExit(
        subprocess.run(
            [sys.executable, "-m", "comp", "bench", "--only", "train,loader", "--json", *arguments]
        ).returncode
    )


if __name__ == "__main__":
    main()
