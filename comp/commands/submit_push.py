"""Send a submission to Kaggle, wait for its score, and note both in the ledger.

  python -m comp submit push submissions/demo.csv -m "first try"
  python -m comp submit push by-hand.csv -m "by hand" -c configs/deep_efficientnet.yaml submit.kaggle=NAME

The competition's name there, the last part of its address, is submit.kaggle of the file's JSON or of the config. A key
is made at https://www.kaggle.com/settings/api; it goes into the environment as KAGGLE_API_TOKEN or into
~/.kaggle/access_token. The client is installed by pip install -e '.[kaggle]'.

First comes what submit check says, and a file it refuses is not sent; nor is one beyond the day's quota: what Kaggle
says is left, else submit.per_day. The message carries CV and the beginning of the content's hash, so one content is
never sent twice: killed at any moment, or out of time, the same command finds the file in Kaggle's list and goes on.

Exit status: 0 the score is in the ledger, 1 the file is not sent or not scored, 2 something is to be mended.
"""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a submission, or its id (the path below submissions/, no suffix)")
    parser.add_argument("-m", "--message", required=True, help="what Kaggle shows beside the file")
    parser.add_argument(
        "--yes", action="store_true", help="send what is only doubtful, and once more what Kaggle could not score"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=300,
        metavar="SECONDS",
        help="how long to wait for the score (default: %(default)s)",
    )
    add_config_arguments(parser, otherwise="the competition that the file's JSON names")


def run(args: argparse.Namespace) -> int:
    from comp.submit.check import check_submission
    from comp.submit.competition import config_from_args
    from comp.submit.push import push
    from comp.submit.write import find_submission

    report = check_submission(find_submission(args.file), config_from_args(args.config, args.overrides), args.yes)
    return push(report, args.message, args.timeout)
