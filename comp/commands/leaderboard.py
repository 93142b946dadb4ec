"""Every run and blend, the best first, and whether the best is better than the others or only luckier.

  python -m comp leaderboard                      all of them; soups and the trials of studies are runs
  python -m comp leaderboard 'recipes/*'          these
  python -m comp leaderboard --json               one object on stdout, for programs

A heading for each dataset, split and metric: nothing else is comparable. Columns: the out-of-fold score (of a blend,
cross-fitted), its interval, how much better the best epoch looks than the last (of a blend: its naive score), numbers
that are trained, training time of all folds, and a paired test against the best on the images that both predicted:
McNemar's exact test for accuracy, a bootstrap for other metrics. "inside the noise" is p of 0.05 or more; among many
runs the best is lucky too, so its p are a little too small. Runs that lack folds come after those that do not.
"optimistic" is train.keep=best, whose epoch was chosen on the images it is scored on; nothing is held against it.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="names or quoted patterns below runs/ (default: all)")
    parser.add_argument("--json", action="store_true", help="print one object instead of tables")


def run(args: argparse.Namespace) -> None:
    import json
    import sys

    from comp.errors import UserError
    from comp.study.leaderboard.entries import read_entries
    from comp.study.leaderboard.ranking import group_entries
    from comp.study.leaderboard.table import render, to_json

    entries, warnings = read_entries(args.names)
    if not entries and not warnings:
        raise UserError("there is no run; train one: python train.py")
    groups = group_entries(entries)
    if args.json:
        print(json.dumps(to_json(groups, warnings)))
        return
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(render(groups))
