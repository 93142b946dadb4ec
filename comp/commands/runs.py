"""Commands about finished runs: leaderboard, soup, export."""

from __future__ import annotations

import argparse

from comp.cli import DEFAULT_CONFIG, add_device_argument, add_full_argument, add_runs_argument


def leaderboard_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="names or quoted patterns below runs/ (default: all)")
    parser.add_argument("--against", metavar="NAME", help="test against this run or blend, and show what each changes")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def leaderboard(args: argparse.Namespace) -> None:
    """Rank runs and blends, and test whether the best is better than the others or inside the noise.

      python -m comp leaderboard                      all of them; soups and the trials of studies are runs
      python -m comp leaderboard 'recipes/*'          these
      python -m comp leaderboard --against small      what each experiment changes, and what that brings
      python -m comp leaderboard --json               one JSON object on stdout, for programs

    There is one table per dataset, split and metric, because other scores are not comparable. Columns: the
    out-of-fold score (of a blend: cross-fitted), its 95 % interval, the best epoch's score minus the last one's (of
    a blend: the naive score minus the cross-fitted one), trainable parameters, training time of all folds, and a
    paired test against the best on the images that both predicted: the difference, positive if better than the best,
    its interval, and p by McNemar's exact test for accuracy, by the bootstrap for other metrics. "inside the noise"
    means p of 0.05 or more. The p-values are not corrected for choosing the best of many runs. Runs that lack folds
    are listed last. "optimistic" marks train.keep=best, whose epoch was chosen on the images it is scored on; it is
    not the best that others are compared with.
    """
    import sys

    from comp.errors import UserError
    from comp.study.leaderboard.entries import read_entries, read_entry
    from comp.study.leaderboard.ranking import group_entries
    from comp.study.leaderboard.table import render, render_experiments, to_json

    entries, warnings = read_entries(args.names)
    if not entries and not warnings:
        raise UserError("there is no run yet; train one: python train.py")
    reference = read_entry(args.against) if args.against else None
    groups = group_entries(entries, reference)
    if args.json:
        print(to_json(groups, warnings, "against_reference" if reference else "against_best"))
        return
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(render_experiments(groups[0]) if reference else render(groups))


def soup_arguments(parser: argparse.ArgumentParser) -> None:
    add_runs_argument(parser, nargs="+")
    add_device_argument(parser)


def soup(args: argparse.Namespace) -> None:
    """Average the weights of a run's last epochs, as a run of its own: often better than any one of them.

      python train.py -c configs/recipes/snapshots.yaml      keeps the weights of each fold's last five epochs
      python -m comp soup recipes/snapshots                  writes runs/recipes/snapshots+soup/
      python infer.py recipes/snapshots+soup                 as with any run; also export, train.init, leaderboard

    Nothing is chosen, so the score is not optimistic. BatchNorm statistics are recomputed from the training images
    of the last epoch, augmented as they were; a fold's validation images are not used. Run again, the command makes
    only what is missing or was made of other snapshots.
    """
    from comp import runs
    from comp.engine.device import choose_device
    from comp.training.soup import check_has_snapshots, make_soup
    from comp.training.summary import summary_line

    sources = runs.find_runs(args.runs)
    check_has_snapshots(sources)
    device = choose_device(args.device)
    for run in sources:
        metrics = make_soup(run, device)
        print(summary_line(metrics, full=metrics.scores is None))


def export_arguments(parser: argparse.ArgumentParser) -> None:
    add_runs_argument(parser)
    parser.add_argument("--to", choices=("onnx", "openvino", "openvino-bf16"), required=True, help="write this format")
    add_full_argument(parser)


def export(args: argparse.Namespace) -> None:
    """Write a run's models as files that need no torch; refuse them unless they agree with torch on real images.

      python -m comp export --to onnx                         the main model's run: runs/<name>/fold<k>/model.onnx
      python -m comp export recipes/ema --to openvino         model.xml and model.bin beside the weights of each fold
      python -m comp export recipes/ema --to openvino-bf16    the same files, compared as they compute in bf16
      python -m comp export recipes/ema --to onnx --fold full      the model trained on all images

    Input: `images`, uint8 (N, size, size, 3), RGB, already square; normalisation is inside the model. Output:
    `logits`, float32 (N, classes). Before a file is written, its logits of 64 training images
    are compared with torch's, in batches of 1 and 32. It is refused unless both predict the same class for every
    image and the largest difference is at most 1e-4 of the largest logit, or 1e-2 in bf16. Both figures are printed.
    model.<runtime>.json beside it records the classes in order, the size, these figures, and the hashes of weights
    and files.

    `python infer.py --runtime onnx` uses these files, and exports again what is missing or older than its weights.
    Needs: pip install -e '.[export]'
    """
    from comp import config, runs
    from comp.prediction.export import export_run

    for run in runs.find_runs(args.runs or [config.load(DEFAULT_CONFIG)[0].name]):
        export_run(run, args.to, full=args.fold == "full")
