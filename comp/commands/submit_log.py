"""Enter a score by hand: a line in the ledger.

  python -m comp submit log submissions/demo.csv --public 0.984
  python -m comp submit log demo --public 0.984 --private 0.979 --rank 12 --message "longer training"
  python -m comp submit log demo --sent                         it was sent, its score is not known yet
  python -m comp submit log by-hand.csv --public 0.98 -c configs/deep_efficientnet.yaml      made elsewhere

What has a score was sent: that is noted too, where it was not. Nothing is overwritten; given again with another score,
the later one counts. FILE is a path or an id; the ledger is that of the competition in the JSON beside it.
"""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a submission, or its id")
    parser.add_argument("--public", type=float, metavar="SCORE", help="on the public leaderboard")
    parser.add_argument("--private", type=float, metavar="SCORE", help="on the private one")
    parser.add_argument("--rank", type=int, metavar="N", help="the place on it")
    parser.add_argument("--message", "-m", default="", metavar="TEXT", help="what the ledger shall remember of it")
    parser.add_argument("--sent", action="store_true", help="it was sent; allowed without a score")
    add_config_arguments(parser, otherwise="the competition that the file's JSON names")


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from comp.errors import UserError
    from comp.submit import ledger
    from comp.submit.competition import config_from_args
    from comp.submit.manual_score import resolve_entry, score_events
    from comp.submit.write import competition_for

    if (args.public, args.private, args.rank) == (None, None, None) and not args.sent:
        raise UserError("nothing to note; say --public SCORE, or --sent")
    competition = competition_for(args.file, config_from_args(args.config, args.overrides))
    path, entry = Path(competition.ledger), resolve_entry(args.file, competition)
    events = score_events(entry, public=args.public, private=args.private, rank=args.rank, message=args.message)
    ledger.append(path, *events)
    said = {"public": args.public, "private": args.private, "rank": args.rank}
    scores = ", ".join(f"{name} {value:g}" for name, value in said.items() if value is not None)
    print(
        f"{path}: {entry.id} {' and '.join(event.event for event in events) or 'was known as sent already'}"
        f"{': ' if scores else ''}{scores}"
    )
