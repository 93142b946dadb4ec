"""Search a space with Optuna; every trial is a run like any other, under runs/<study>/trial_0007/.

  python -m comp tune configs/studies/regularisation.yaml --trials 20

--trials is the total wanted: give the command again to go on after a crash, with a larger number to search on, or in
several terminals at once to share the work. The study trains folds 0-2; the winner is then held against the base on
folds 3-4, because the best of many trials flatters itself. Writes configs/studies/<study>.winner.yaml.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="a study file: base, fixed, folds, confirm, space")
    parser.add_argument("--trials", type=int, default=20, help="how many there shall be in all (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def run(args: argparse.Namespace) -> None:
    from comp.errors import UserError
    from comp.study.space import read_study
    from comp.study.tune import tune

    if args.trials < 1:
        raise UserError("--trials must be 1 or more")
    tune(read_study(args.study), args.trials, args.device)
