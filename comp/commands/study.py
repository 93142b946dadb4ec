"""Commands about many runs with one question: tune, reproduce, zoo."""

from __future__ import annotations

import argparse
from pathlib import Path

from comp.cli import add_device_argument, add_launch_arguments, add_overrides_argument


def tune_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="a study file with base, fixed, folds, confirm and space")
    parser.add_argument("--trials", type=int, default=20, help="total number of trials (default: %(default)s)")
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="keep the trials in this database, for several machines, e.g. postgresql+psycopg://USER@HOST/DATABASE "
        "(default: a journal in runs/<study>/)",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="run N trials at a time (default: 1)")
    parser.add_argument("--status", action="store_true", help="only print how far the study is; nothing is written")
    add_device_argument(parser)
    add_launch_arguments(parser)


def tune(args: argparse.Namespace) -> None:
    """Search a space with Optuna; every trial is an ordinary run under runs/<study>/trial_0007/.

      python -m comp tune configs/studies/regularisation.yaml --trials 20
      python -m comp tune configs/studies/regularisation.yaml --trials 20 --workers 2
      python -m comp tune configs/studies/regularisation.yaml --trials 20 --status
      python -m comp tune configs/studies/regularisation.yaml --trials 20 --storage postgresql+psycopg://USER@HOST/DATABASE
      python -m comp tune configs/studies/regularisation.yaml --trials 20 --launcher ray --address auto --workers 8

    --trials is the total: run the command again to resume after a crash, with a larger number to search longer, or
    in several terminals at once to share the work; with --storage on several machines, or by --launcher. The
    winner is then compared with the base on folds that no trial used, because the best of many trials is optimistic.
    Writes configs/studies/<study>.winner.yaml. The password of a database belongs into ~/.pgpass or PGPASSWORD.
    """
    from comp.errors import UserError
    from comp.launch.options import LaunchOptions, open_trainer
    from comp.study.study_file import read_study
    from comp.study.tune import tune as run_study

    if args.trials < 1 or args.workers < 1:
        raise UserError("--trials and --workers must be 1 or more")
    if args.status:
        from comp.study.status import print_status

        print_status(read_study(args.study), args.trials, args.storage)
        return
    study, options = read_study(args.study), LaunchOptions.of_command(args)
    if options and study.is_multi_objective:
        raise UserError("ms_per_image is measured on this machine; remove --launcher, or the objective from the study")
    with open_trainer(options, args.device) as trainer:
        run_study(study, args.trials, trainer, args.storage, args.workers)


def reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paper", help="sharif, karakus, pinto or gupta")
    parser.add_argument("--rows", metavar="A,B", help="train only these configs of the paper (default: all)")
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="trainings of each row (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="train one epoch of each row")
    parser.add_argument("--data", metavar="PATH", help="use another dataset than the paper's")
    parser.add_argument("--size", type=int, metavar="N", help="side of the images in pixels (default: the paper's)")
    parser.add_argument("--epochs", type=int, metavar="N", help="limit each stage to N epochs (default: the paper's)")
    add_device_argument(parser)
    add_overrides_argument(parser)


def reproduce(args: argparse.Namespace) -> None:
    """Measure the tables of a paper again: reported beside measured, with intervals and costs.

      python -m comp reproduce sharif                                        the paper's protocol: hours without a GPU
      python -m comp reproduce sharif --size 96 --epochs 15                  a reduced one, named in the table: 2 hours
      python -m comp reproduce pinto --data input/blood-cells_28 --seeds 3
      python -m comp reproduce gupta --rows se_cnn,cbam_cnn
      python -m comp reproduce karakus --quick                               one epoch of each row, as a smoke test

    The papers are the directories of configs/papers/. Each row is an ordinary run (fold 0 of a split; where the data
    has test_labels.csv and the paper scored its test subset, that is scored instead). Finished rows are not trained
    again: after a kill, run the same command to resume. Writes runs/papers/<paper>/table.md, table.csv and table.png
    after every row. A table under another protocol replaces them; the trainings stay.
    """
    from comp.engine.device import choose_device
    from comp.errors import UserError
    from comp.papers.plan import ProtocolOverrides
    from comp.papers.reproduce import reproduce as reproduce_paper

    if any(number is not None and number < 1 for number in (args.seeds, args.size, args.epochs)):
        raise UserError("--seeds, --size and --epochs must be 1 or more")
    if any(override.startswith("train.seed=") for override in args.overrides):
        raise UserError("train.seed cannot be overridden in a table; set the number of seeds with --seeds")
    protocol = ProtocolOverrides(args.data, args.size, 1 if args.quick else args.epochs, tuple(args.overrides))
    rows = [row for row in (args.rows or "").split(",") if row]
    reproduce_paper(args.paper, rows, args.seeds, protocol, choose_device(args.device))


def zoo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--paper", help="only the models of this paper: sharif, karakus, pinto or gupta")


def zoo(args: argparse.Namespace) -> None:
    """List the papers' models with their sizes, counted here, beside the count that each paper printed.

      python -m comp zoo                       all of them
      python -m comp zoo --paper sharif        those of one paper: sharif, karakus, pinto or gupta

    Every model has 8 classes and its paper's image size. Trainable parameters leave out a frozen encoder.
    Statistics are the running means and variances of BatchNorm; Keras counts them as parameters, and so do karakus
    and gupta: their printed count is compared with all numbers of the model. MiB is the size of its weights in 32
    bits, statistics included. MMACs are millions of multiply-adds of convolutions and dense layers for one image.
    The last column is `exact`, `rounds to it`, `no:` and the count here, or `not reported`.

    What follows a name is model.kwargs, e.g. python train.py model.name=gupta_cnn
    model.kwargs.layers=3 data.size=64 model.dropout=null model.drop_path=null
    """
    from comp.errors import UserError, did_you_mean
    from comp.papers.model_sizes import count_model_size
    from comp.papers.model_table import PAPER_MODELS, compare_counts
    from comp.text import format_table

    papers = {model.paper for model in PAPER_MODELS}
    if args.paper not in {None, *papers}:
        raise UserError(f"--paper: unknown paper {args.paper}{did_you_mean(args.paper, papers)}")
    titles = ("model", "paper", "px", "trainable", "statistics", "all numbers", "MiB", "MMACs", "reported", "match")
    rows = []
    for model in PAPER_MODELS:
        if args.paper in (None, model.paper):
            size = count_model_size(model.name, model.kwargs, model.image_size)
            kwargs = [f"{key}={value}".lower() for key, value in model.kwargs.items()]
            counts = [f"{count:,}" for count in (size.trainable, size.statistics, size.total)]
            costs = [f"{size.weights_mib:,.2f}", f"{size.macs / 1e6:,.1f}"]
            match = compare_counts(model, size)
            rows.append(
                [
                    " ".join([model.name, *kwargs]),
                    model.paper,
                    str(model.image_size),
                    *counts,
                    *costs,
                    model.reported,
                    match,
                ]
            )
    print(format_table(titles, rows, left=(0, 1, 9)))
