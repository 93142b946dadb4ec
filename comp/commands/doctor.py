"""The command doctor."""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments, add_device_argument


def doctor_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    add_device_argument(parser)


def doctor(args: argparse.Namespace) -> int:
    """Report what this machine has, what a training would use, and what is wrong.

      python -m comp doctor                                    for the main config
      python -m comp doctor -c configs/demo.yaml --device cpu

    The lines show packages, processor, memory, disk, torch, driver, GPUs (a kernel is run on each), the precision and
    the operations that would be chosen, the images and the split of the config, and whether W&B and Kaggle have a key.
    Each problem is one line that says what to do. An error will make a command fail, and the exit status is 1; a
    warning will not. Nothing is written but compiled operations, nothing is sent, and no key is printed.
    """
    import json

    from comp.doctor.examine import examine

    report = examine(args.config, args.overrides, args.device)
    print(json.dumps(report.to_dict()) if args.json else report)
    return int(report.has_errors)
