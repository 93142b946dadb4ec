"""Commands that show runs to a team: track sync, track dashboard."""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments


def sync_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="a run, or a quoted pattern such as 'tune/*', and the submissions made of it (default: all)",
    )


def sync(args: argparse.Namespace) -> int:
    """Fill W&B from run directories, also of runs that were trained without it. Nothing is there twice.

      python -m comp track sync                              every run, submission and score
      python -m comp track sync demo 'recipes/*'             these runs, and the submissions made of them
      WANDB_MODE=offline python -m comp track sync           files to upload later: wandb sync runs/*/wandb/wandb

    Each fold, each summary of a run and each submission is a W&B run whose id depends on nothing but the run and its
    name, so a second call, or one on another machine, continues the same ones. What was written with the same content
    is not opened again. Folds that are still trained, and files that cannot be read, are left out and listed.

    Exit status: 0 everything is written, 1 something was left out, 2 W&B cannot be used.
    """
    import sys

    from comp import runs
    from comp.observers.wandb_login import sync_mode
    from comp.track.sync import sync as sync_runs

    selected = runs.find_runs(args.runs) if args.runs else None
    mode = sync_mode()
    report = sync_runs(selected, mode)
    for line in report.left_out:
        print(f"left out: {line}", file=sys.stderr)
    print(f"W&B ({mode}): {report.written} runs written, {report.unchanged} were there already")
    return 1 if report.left_out else 0


def dashboard_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def dashboard(args: argparse.Namespace) -> None:
    """Save the team's view of a W&B project: OOF scores, curves, mistakes and submissions side by side.

      python -m comp track dashboard                         the project of the main model's config
      python -m comp track dashboard -c configs/demo.yaml

    The project is log.project, or the dataset's name; the team is WANDB_ENTITY, or the one of the login. Everyone in
    the team saves the same view: a second call updates it. Needs: pip install -e '.[team]'
    """
    from comp import config
    from comp.observers.wandb_login import check_service
    from comp.observers.workspace import check_workspaces, save_view

    settings = config.load(args.config, args.overrides)[0]
    check_workspaces()
    check_service()
    print(f"saved {save_view(settings.log.project or settings.dataset)}")
