"""Measure the tables of a paper again: reported beside measured, with intervals and costs.

  python -m comp reproduce sharif                                        the paper's own protocol: hours without a GPU
  python -m comp reproduce sharif --size 96 --epochs 15                  a reduced one, said in the first line: 2 hours
  python -m comp reproduce pinto --data input/blood-cells_28 --seeds 3
  python -m comp reproduce gupta --rows se_cnn,cbam_cnn
  python -m comp reproduce karakus --quick                               one epoch of each row: does everything run?

The papers are the folders of configs/papers/. Each row is a run like any other (fold 0 of a split; where the data has
test_labels.csv and the paper scored its test part, that is scored instead). Rows that are trained are not trained
again: killed, the same command goes on. Writes runs/papers/<paper>/table.md, table.csv and table.png after every row;
a table under another protocol takes their place, its trainings stay.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paper", help="sharif, karakus, pinto or gupta")
    parser.add_argument("--rows", metavar="A,B", help="only these configs of the paper (default: all)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings of each row (default: 1)")
    parser.add_argument("--quick", action="store_true", help="one epoch each")
    parser.add_argument("--data", metavar="PATH", help="another dataset than the paper's")
    parser.add_argument("--size", type=int, metavar="N", help="side of the images")
    parser.add_argument("--epochs", type=int, metavar="N", help="at most so many epochs of each stage")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="any key, for every row: data.crop=200"
    )


def run(args: argparse.Namespace) -> None:
    from comp.errors import UserError
    from comp.papers.reproduce import ProtocolOverrides, reproduce

    if any(number is not None and number < 1 for number in (args.seeds, args.size, args.epochs)):
        raise UserError("--seeds, --size and --epochs must be 1 or more")
    if any(override.startswith("train.seed=") for override in args.overrides):
        raise UserError("the seeds of a table are its own; say how many with --seeds")
    reduced = ProtocolOverrides(args.data, args.size, 1 if args.quick else args.epochs, tuple(args.overrides))
    reproduce(args.paper, [row for row in (args.rows or "").split(",") if row], args.seeds, reduced, args.device)
