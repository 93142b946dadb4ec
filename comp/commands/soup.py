"""The mean of a run's last epochs, as a run of its own: often better than any one of them, and nothing is chosen.

  python train.py -c configs/recipes/snapshots.yaml      keeps the weights of each fold's last five epochs
  python -m comp soup recipes/snapshots                  their mean: runs/recipes/snapshots+soup/
  python infer.py recipes/snapshots+soup                 as of any run; so with export, train.init and leaderboard

BatchNorm's statistics are taken anew from the training images of the last epoch, augmented as they were; images that a
fold validates on have no part in it. Given again, only what is missing is made, or what was made of other snapshots.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="names, paths or quoted patterns below runs/")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def run(args: argparse.Namespace) -> None:
    from comp import runs
    from comp.training.soup import check_has_snapshots, make_soup
    from comp.training.summary import summary_line

    found = runs.find_runs(args.runs)
    check_has_snapshots(found)
    for each in found:
        metrics = make_soup(each, args.device)
        print(summary_line(metrics, full="oof" not in metrics))
