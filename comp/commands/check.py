"""what is wrong or suspicious with the data

Opens every image once, then names the files that would spoil a training or a score, and says what to do.

    python -m comp data check                             the dataset of the default config
    python -m comp data check data.root=input/my-cells folds.k=4

Errors (exit status 1): unreadable images, one picture under two labels, training images that are also in
test, a class smaller than the number of folds. Warnings (exit status 0): copies inside a class or inside
test, files that are no images, and a picture size, JPEG quality or colour that gives the class away. Copies
are found even when turned by quarters, mirrored, re-encoded, resized or slightly brightened.
All of it is also written to runs/checks/<dataset>.json.
"""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from comp import config
    from comp.data.check import check_dataset, format_report
    from comp.data.scan import scan
    from comp.files import write_json

    cfg = config.load(args.config, args.overrides)[0]
    report = check_dataset(scan(cfg.data.root), cfg.folds.k)
    print(format_report(report))
    write_json(Path(f"runs/checks/{report.dataset}.json"), report.to_json())
    return report.exit_code
