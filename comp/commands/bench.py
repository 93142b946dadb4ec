"""The command bench."""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments, add_device_argument


def bench_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--only", metavar="A,B", help="measure these sections: train, step, loader, infer, limits (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    add_device_argument(parser)


def bench(args: argparse.Namespace) -> None:
    """Measure how fast this machine trains and predicts with a config, and the machine's own limits.

      python -m comp bench                                              a minute or two; the main config
      python -m comp bench model.name=resnet18 data.size=128 train.batch=64
      python -m comp bench --only train --json                          one JSON object on stdout, for programs

    Everything runs through the components of train.py: the same loader, policy, loss, optimiser, precision and
    workers. No run is written, and no epoch is validated. Sections: loader (batches alone), step (training on one
    batch repeatedly), train (end to end), infer (one view, eight views, one image alone), limits (a matrix product
    and a memory copy on this machine, and the share of them that training reaches). Sections run interleaved, so that
    their ratios hold on a busy machine; every figure is a median.
    """
    import contextlib
    import json
    import sys

    from comp import config
    from comp.bench.measure import SECTIONS, run_benchmark
    from comp.bench.table import render
    from comp.engine.device import choose_device
    from comp.errors import UserError, did_you_mean

    sections = SECTIONS if args.only is None else args.only.split(",")
    for section in sections:
        if section not in SECTIONS:
            raise UserError(f"--only: unknown section {section!r}{did_you_mean(section, SECTIONS)}")
    configs = config.load(args.config, args.overrides)
    if len(configs) > 1:
        raise UserError(f"the config describes {len(configs)} runs, and bench measures one; set one train.seed")
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result alone
        result = run_benchmark(configs[0], sections, choose_device(args.device))
    print(json.dumps(result.to_dict()) if args.json else render(result))
