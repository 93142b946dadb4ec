"""Pack the training images of a dataset as a MedMNIST file: small squares, 70/10/20 by seed, copies in one part.

  python -m comp data export-npz --size 28 --crop 200      input/blood-cells_28.npz, in the way of BloodMNIST
  python -m comp data export-npz data.root=input/demo --size 64 --seed 1 --out demo.npz

This is how to try a protocol that wants train, val and test parts on images of which only the training part has
labels: the dataset's own test/ folder is never read. `python -m comp data import` makes a dataset of the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from comp.cli import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--size", type=int, default=28, help="side of the squares (default: %(default)s)")
    parser.add_argument("--crop", type=int, help="centre crop in source pixels before that (default: data.crop)")
    parser.add_argument("--seed", type=int, default=42, help="of the split and the order (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: input/<dataset>_<size>.npz")


def run(args: argparse.Namespace) -> None:
    from comp import config
    from comp.data.duplicates import find_duplicates, group_ids
    from comp.data.image_stats import survey
    from comp.data.images import SquareSpec
    from comp.data.medmnist import SUBSET_FOLDS, assign_subsets, pack_arrays, write_npz
    from comp.data.scan import scan
    from comp.errors import UserError

    if args.size < 8 or (args.crop is not None and args.crop < 1) or not 0 <= args.seed < 2**32:
        raise UserError("--size must be 8 or more, --crop 1 or more, and --seed from 0 to 4294967295")
    data = config.load(args.config, args.overrides)[0].data
    dataset = scan(data.root)
    out = args.out or Path("input", f"{dataset.name}_{args.size}.npz")
    if out.exists():
        raise UserError(f"{out} is there; remove it, or give --out FILE")
    read = survey(dataset.train)
    if read.broken:
        bad = read.broken[0][0].path
        raise UserError(f"cannot read {len(read.broken)} images, such as {bad}; see: python -m comp data check")
    table = assign_subsets(dataset, group_ids(dataset.train, find_duplicates(read)), args.seed)
    arrays = pack_arrays(dataset, table, SquareSpec(args.size, data.fit, args.crop or data.crop), args.seed)
    write_npz(out, arrays)
    counts = ", ".join(f"{len(arrays[f'{part}_labels'])} {part}" for part in SUBSET_FOLDS)
    tied = int((table["group"].value_counts() > 1).sum())
    print(
        f"wrote {out}: {len(dataset.classes)} classes at {args.size} px, {counts}, seed {args.seed}, "
        f"{tied} group(s) of duplicates kept together"
    )
    print(f"next: python -m comp data import {out}")
