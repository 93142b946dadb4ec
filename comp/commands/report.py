"""The command report."""

from __future__ import annotations

import argparse

from comp.cli import add_device_argument


def report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="+", metavar="RUN", help="a run, blend, submission or study; or several runs and blends"
    )
    parser.add_argument("--quick", action="store_true", help="leave out the sections that run a model")
    parser.add_argument(
        "--watch", action="store_true", help="serve the page to this machine, and reload it while the run trains"
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="with --watch (default: any free one)")
    add_device_argument(parser)


def report(args: argparse.Namespace) -> None:
    """Write a report as one HTML file that opens from disk: runs/reports/NAME/report.html, and its figures as PNG.

      python -m comp report first                      a run, also while it trains
      python -m comp report blends/first               a blend; submissions/first.csv: a submission
      python -m comp report regularisation             a study
      python -m comp report first second 'recipes/*'   several runs: the table, paired tests, score against cost
      python -m comp report first --watch              on http://127.0.0.1, loaded again after every epoch

    The first screen says how good it is, whether that may be trusted, and what is wrong. All scores are out of fold.
    What has no meaning for a kind of task is left out. The page loads nothing from the network, and no script or file
    of another origin. With --watch no model is run, and the page is only served to this machine.
    """
    from comp.errors import UserError

    if args.port and not args.watch:
        raise UserError("--port is of the page that --watch serves; add --watch, or remove it")
    from comp.report.page import write_report
    from comp.report.source import find_source

    if not args.watch:
        print(f"wrote {write_report(find_source(args.names, device=None if args.quick else args.device))}")
        return
    import contextlib

    from comp.report.watch import ReportServer

    with ReportServer(lambda: find_source(args.names, device=None), args.port) as server:
        print(f"report: {server.url} (end with Ctrl-C)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
