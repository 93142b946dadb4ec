"""What every model of the papers weighs, counted here, beside the count that its paper printed.

  python -m comp zoo                       all of them
  python -m comp zoo --paper sharif        those of one paper: sharif, karakus, pinto or gupta

Every model has 8 classes and its paper's image size. Trainable parameters leave out an encoder that is frozen.
Statistics are the running means and variances of BatchNorm; Keras counts them as parameters, and so do karakus and
gupta: their printed count is held against all numbers of the model. MiB is its weights in 32 bits, statistics included.
MMACs are millions of multiply-adds of convolutions and dense layers for one image. The last column says `exact`,
`rounds to it`, `no:` and what it is, or `not reported`.

What follows a name is model.kwargs: python train.py model.name=gupta_cnn
model.kwargs.layers=3 data.size=64 model.dropout=null model.drop_path=null
"""

from __future__ import annotations

import argparse

HEADER = ("model", "paper", "px", "trainable", "statistics", "all numbers", "MiB", "MMACs", "reported", "match")
LEFT = {"model", "paper", "match"}  # text; numbers end at the same place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--paper", help="only the models of this one")


def run(args: argparse.Namespace) -> None:
    from comp.errors import UserError, did_you_mean
    from comp.papers.model_sizes import PAPER_MODELS, compare_counts, count_model_size

    papers = {entry.paper for entry in PAPER_MODELS}
    if args.paper not in {None, *papers}:
        raise UserError(f"--paper: there is no {args.paper}{did_you_mean(args.paper, papers)}")
    rows = [HEADER]
    for entry in PAPER_MODELS:
        if args.paper in (None, entry.paper):
            counted = count_model_size(entry)
            called = " ".join([entry.name, *(f"{key}={value}".lower() for key, value in entry.kwargs.items())])
            rows.append(
                (
                    called,
                    entry.paper,
                    str(entry.size),
                    f"{counted.trainable:,}",
                    f"{counted.statistics:,}",
                    f"{counted.total:,}",
                    f"{counted.weights_mib:,.2f}",
                    f"{counted.macs / 1e6:,.1f}",
                    entry.reported,
                    compare_counts(entry, counted),
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if title in LEFT else cell.rjust(width)
            for title, cell, width in zip(HEADER, row, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())
