"""Name the submission that counts: FINAL, beside the ledger.

  python -m comp submit final submissions/demo.csv

FILE is a path or an id, and must be in the ledger. `submit status` says what to pick, and warns when FINAL names what
was never sent or has changed since.
"""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a submission, or its id")
    add_config_arguments(parser, otherwise="the competition that the file's JSON names")


def run(args: argparse.Namespace) -> None:
    import sys
    from pathlib import Path

    from comp.submit import ledger
    from comp.submit.competition import asked_config
    from comp.submit.final import doubts, known_entry, write_final
    from comp.submit.write import competition_of

    competition = competition_of(args.file, asked_config(args.config, args.overrides))
    path = Path(competition.ledger)
    entries = ledger.latest(ledger.read(path))
    entry = known_entry(args.file, entries, path)
    write_final(competition.final, entry)
    print(f"{competition.final} names {entry.id}")
    doubt = doubts(competition, entries)
    if doubt:
        print(f"warning: {doubt}", file=sys.stderr)
