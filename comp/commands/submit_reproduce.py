"""Make a past submission again from the note beside it, and hold it against the bytes that were recorded.

  python -m comp submit reproduce seeds           submissions/seeds.csv, by submissions/seeds.json
  python -m comp submit reproduce old/seeds       submissions/old/seeds.csv

Everything is predicted anew from the weights the note names; predictions that lie in runs/ are not looked at. If the
CSV is gone, it is written again, to the same bytes; one that holds other bytes is never overwritten. If the bytes
differ, what changed is named: the weights of a fold, a run that is not there, test images, the sample, the classes;
and where none of these did, versions and code as likely reasons.

Exit status: 0 the same bytes, 1 others, 2 when there is no note to read.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the file's name below submissions/, without .csv; or its path")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def run(args: argparse.Namespace) -> int:
    from comp.ship.reproduce import reproduce_submission

    made = reproduce_submission(args.id, args.device)
    if made.same:
        print(
            f"{made.path}: the same bytes, sha256 {made.note['sha256'][:12]}"
            + (", written again" if made.restored else "")
        )
        for reason in made.reasons:
            print(f"  although this changed: {reason}")
        return 0
    print(f"{made.path} cannot be made again as it was, sha256 {made.note['sha256'][:12]}")
    for reason in made.reasons:
        print(f"  changed: {reason}")
    for reason in made.perhaps:
        print(f"  perhaps: {reason}")
    return 1
