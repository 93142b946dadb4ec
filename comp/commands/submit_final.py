"""Name the submission that counts: FINAL, beside the ledger.

  python -m comp submit final submissions/demo.csv

FILE is a path or an id, and must be in the ledger. `submit status` says what to pick, and warns when FINAL names what
was never sent or has changed since.
"""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a submission, or its id")
    add_config_arguments(parser, otherwise="the competition that the file's JSON names")


def run(args: argparse.Namespace) -> None:
    import sys
    from pathlib import Path

    from comp.submit import ledger
    from comp.submit.competition import config_from_args
    from comp.submit.final import final_warning, find_entry, write_final
    from comp.submit.write import competition_for

    competition = competition_for(args.file, config_from_args(args.config, args.overrides))
    path = Path(competition.ledger)
    entries = ledger.latest_entries(ledger.read(path))
    entry = find_entry(args.file, entries, path)
    write_final(competition.final, entry)
    print(f"{competition.final} names {entry.id}")
    doubt = final_warning(competition, entries)
    if doubt:
        print(f"warning: {doubt}", file=sys.stderr)
