"""Turn a MedMNIST file into a dataset with its official split; no pixel changes on the way.

  python -m comp data import bloodmnist_64.npz             into input/bloodmnist_64, folds/bloodmnist_64.csv
  python -m comp data import cells.npz --root input/mine --folds folds/mine-official.csv

The official training and validation parts become train/<class>/train_00000.png ... and val_00000.png ...; in the folds
file validation is fold 0 and the rest is never validated. The official test part becomes test/, with test_labels.csv.
Killed? Give the same command again. https://medmnist.com has the files; `data export-npz` makes one of images of ours.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="28, 64, 128 or 224 px, colour or grey, one label an image")
    parser.add_argument("--root", type=Path, metavar="DIR", help="where (default: input/<name of the file>)")
    parser.add_argument("--folds", type=Path, metavar="FILE", help="the split (default: folds/<dataset>.csv)")


def run(args: argparse.Namespace) -> None:
    from comp.data.medmnist import (
        check_split_file,
        dataset_matches,
        official_split,
        read_npz,
        write_dataset,
        write_official_split,
    )
    from comp.data.scan import scan
    from comp.errors import UserError

    root = args.root or Path("input", args.file.stem)
    folds = args.folds or Path("folds", f"{root.name}.csv")
    npz = read_npz(args.file)
    split = official_split(npz)
    check_split_file(folds, split)
    if not root.exists():
        write_dataset(npz, root)
        print(
            f"wrote {root}: {len(split)} training images of {len(npz.classes)} classes, "
            f"{len(npz.labels['test'])} test images"
        )
    elif dataset_matches(root, npz, split):
        print(f"{root} is there")
    else:
        raise UserError(f"{root} is there and is not what {args.file} holds; remove it, or give --root DIR")
    write_official_split(folds, split, scan(root))
    print(f"wrote {folds}: the official split, its {len(npz.labels['val'])} validation images are fold 0")
    chosen = f" folds.file={folds}" if args.folds else ""
    print(f"next: python train.py data.root={root} data.size={max(npz.shape[:2])}{chosen}")
