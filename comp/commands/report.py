"""The command report."""

from __future__ import annotations

import argparse

from comp.cli import add_device_argument


def report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="RUN", help="a run, blend, submission or study; several runs")
    parser.add_argument("--quick", action="store_true", help="leave out the sections that run a model")
    add_device_argument(parser)


def report(args: argparse.Namespace) -> None:
    """Write a report as one HTML file that opens from disk: runs/reports/NAME/report.html, and its figures as PNG.

    python -m comp report first                      a run, also while it trains
    python -m comp report blends/first               a blend; submissions/first.csv: a submission
    python -m comp report regularisation             a study
    python -m comp report first second 'recipes/*'   several runs: the table, paired tests, cost against score
    """
    from comp.report.page import write_report
    from comp.report.source import find_source

    path = write_report(find_source(args.names, device=None if args.quick else args.device))
    print(f"wrote {path}")
