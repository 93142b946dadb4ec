"""Commands on the stored predictions of runs and blends: predictions export."""

from __future__ import annotations

import argparse


def export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="export the predictions of this run or blend")
    parser.add_argument("--view", help="export this view alone, e.g. identity (default: every stored view)")


def export(args: argparse.Namespace) -> None:
    """Write stored predictions as CSV, with a row per image and a column per class.

      python -m comp predictions export demo                        every view of the run demo
      python -m comp predictions export demo --view identity        runs/demo/predictions/identity/*.csv alone
      python -m comp predictions export blends/demo                 the cross-fitted predictions of a blend

    Each table x.npz is written as x.csv beside it: oof.csv has image, label, fold and the classes, test_fold<k>.csv
    the predictions of one fold model, test.csv their mean. Nothing is predicted, and the kit does not read the CSVs.
    """
    from comp.prediction.csv_export import export_tables, find_tables

    tables = [table for run in args.runs for table in find_tables(run, args.view)]
    for path in export_tables(tables):
        print(path)
