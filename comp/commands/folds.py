"""Write folds/<dataset>.csv: stratified, duplicates in one fold, the same on every machine.

  python -m comp folds                                             the split of the main config
  python -m comp folds folds.k=10 folds.seed=1 folds.file=folds/other.csv

An existing file is never overwritten silently: runs trained on it would no longer match.
"""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--force", action="store_true", help="replace a split that differs")


def run(args: argparse.Namespace) -> None:
    from comp import config
    from comp.data.duplicates import find_duplicates, group_ids
    from comp.data.folds import make_folds, write_folds
    from comp.data.image_stats import survey
    from comp.data.scan import scan
    from comp.errors import UserError
    from comp.tables import FOLDS_COLUMNS, read_csv

    settings = config.load(args.config, args.overrides)[0]
    path, k, seed = settings.folds_file, settings.folds.k, settings.folds.seed
    dataset = scan(settings.data.root)
    read = survey(dataset.train)
    if read.broken:
        bad = read.broken[0][0].path
        raise UserError(f"cannot read {len(read.broken)} images, such as {bad}; see: python -m comp data check")
    table = make_folds(dataset, group_ids(dataset.train, find_duplicates(read)), k, seed)
    if path.is_file():
        old = read_csv(path, FOLDS_COLUMNS, text=("image", "label", "group"))
        if old.equals(table) and path.with_suffix(".json").is_file():
            print(f"{path} is there and the same")
            return
        if not old.equals(table) and not args.force:
            raise UserError(
                f"{path} is there and differs; runs trained on it would no longer match: "
                f"use --force, or another folds.file"
            )
    write_folds(path, table, dataset, k, seed)
    counts = table.groupby(["label", "fold"]).size().unstack()
    tied = int((table["group"].value_counts() > 1).sum())
    print(f"wrote {path}: {len(table)} images, {k} folds, seed {seed}, {tied} group(s) of duplicates kept together")
    print(counts.to_string())
