"""How fast this machine trains and predicts with a config, and what it could do at most.

  python -m comp bench                                              a minute or two; the main config
  python -m comp bench model.name=resnet18 data.size=128 train.batch=64
  python -m comp bench --only train --json                          one object on stdout, for programs

Everything goes through the wiring of train.py: the same loader, policy, loss, optimiser, precision and workers. But no
run is made, and no epoch is validated. Parts, for --only: loader (batches alone), step (the same training on one batch
over and over), train (as it is, end to end), infer (one view, eight views, one image alone), limits (a matrix product
and a memory copy here, and how near training comes to them). They take turns, so that their ratios hold on a busy
machine; every figure is a median.
"""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--only", metavar="A,B", help="these parts: train, step, loader, infer, limits (default: all)")
    parser.add_argument("--json", action="store_true", help="print one object instead of a table")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def run(args: argparse.Namespace) -> None:
    import contextlib
    import json
    import sys

    from comp import config
    from comp.bench.measure import SECTIONS, run_benchmark
    from comp.bench.table import render
    from comp.errors import UserError, did_you_mean

    only = SECTIONS if args.only is None else args.only.split(",")
    for part in only:
        if part not in SECTIONS:
            raise UserError(f"--only: there is no part {part!r}{did_you_mean(part, SECTIONS)}")
    configs = config.load(args.config, args.overrides)
    if len(configs) > 1:
        raise UserError(f"this asks for {len(configs)} runs, and one is measured; give one train.seed")
    with contextlib.redirect_stdout(sys.stderr):  # whatever is said on the way; stdout is for the result
        found = run_benchmark(configs[0], only, args.device)
    print(json.dumps(found) if args.json else render(found))
