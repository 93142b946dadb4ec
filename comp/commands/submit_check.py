"""May this submission be sent, or would it waste a shot?

  python -m comp submit check submissions/demo.csv           the JSON beside it names its competition
  python -m comp submit check by-hand.csv -c configs/deep_efficientnet.yaml

Refused: ids that are missing, unknown or there twice; other columns or labels than the sample's; what is no
probability. Doubtful, and refused without --yes: a constant answer, rows that do not sum to one, class shares very far
from training's, the same bytes or the same labels as a file that was sent. Warned of: ids in another order, class
shares far from training's, a file that was changed after it was written, one that is the same as another never sent.
Otherwise it says in which rows it differs from the best file sent. What was sent is read from the ledger.

Exit status: 0 it may be sent, 1 it is refused, 2 it cannot be read.
"""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a submission, or its id (the path below submissions/, no suffix)")
    parser.add_argument("--yes", action="store_true", help="what is only doubtful may be sent")
    add_config_arguments(parser, otherwise="the competition that the file's JSON names")


def run(args: argparse.Namespace) -> int:
    from comp.submit.check import check_submission
    from comp.submit.competition import config_from_args
    from comp.submit.write import find_submission

    report = check_submission(find_submission(args.file), config_from_args(args.config, args.overrides), args.yes)
    print(report.render())
    return 1 if report.refused else 0
