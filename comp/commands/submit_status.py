"""All submissions of a competition, what CV says about LB, and what to pick at the end.

  python -m comp submit status
  python -m comp submit status -c configs/demo.yaml

The table is the ledger's, the latest per submission, newest first. The figure runs/submissions/<competition>.png has
CV against LB with 95 % bars. Two files are proposed for the end: the best CV, and the best CV and LB together (for
accuracy their mean by images, else by ranks); "inside the noise" are those that the interval of the best one holds.
Nothing is chosen: `submit final FILE` does that.
"""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from comp import config
    from comp.submit.cv_lb_plot import draw_cv_vs_lb
    from comp.submit.status import status

    state = status(config.load(args.config, args.overrides)[0])
    print(state.render())
    path = Path(f"runs/submissions/{state.competition.name}.png")
    if draw_cv_vs_lb(path, state):
        print(f"CV against LB: {path}")
