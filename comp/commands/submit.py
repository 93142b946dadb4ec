"""Commands about submissions: submit check, push, log, status, final, reproduce, and bundle."""

from __future__ import annotations

import argparse

from comp.cli import DEFAULT_CONFIG, add_blend_arguments, add_config_arguments, add_device_argument


def _add_submission_arguments(parser: argparse.ArgumentParser) -> None:
    """Add FILE, and a config that is only needed for a file without a manifest."""
    parser.add_argument("file", metavar="FILE", help="a submission, or its id (its path below submissions/, no suffix)")
    add_config_arguments(parser, default_help="the competition in the JSON beside the file")


def check_arguments(parser: argparse.ArgumentParser) -> None:
    _add_submission_arguments(parser)
    parser.add_argument("--yes", action="store_true", help="accept a file that is only suspicious")


def check(args: argparse.Namespace) -> int:
    """Check a submission file before you submit it.

      python -m comp submit check submissions/demo.csv           its competition is in the JSON beside it
      python -m comp submit check by-hand.csv -c configs/deep_efficientnet.yaml

    Errors: ids that are missing, unknown or duplicated; other columns or labels than the sample's; values that are
    not probabilities. Suspicious, and refused without --yes: one answer for every image, rows that do not sum to
    one, class shares very far from those of training, the same bytes or the same labels as a submitted file.
    Warnings: ids in another order, class shares far from training, a file that was changed after it was written, one
    that equals another file. It also lists the rows that differ from the best submitted file. The ledger records
    what was submitted.

    Exit status: 0 the file may be submitted, 1 it is refused, 2 it cannot be read.
    """
    from comp.submit.check import check_submission
    from comp.submit.competition import config_from_args
    from comp.submit.manifest import find_submission

    report = check_submission(find_submission(args.file), config_from_args(args.config, args.overrides), args.yes)
    print(report.to_text())
    return 1 if report.is_refused else 0


def push_arguments(parser: argparse.ArgumentParser) -> None:
    _add_submission_arguments(parser)
    parser.add_argument("-m", "--message", required=True, help="text that Kaggle shows beside the file")
    parser.add_argument(
        "--yes", action="store_true", help="submit a suspicious file, or again one that Kaggle could not score"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=300,
        metavar="SECONDS",
        help="wait this long for the score (default: %(default)s)",
    )


def push(args: argparse.Namespace) -> int:
    """Send a submission to Kaggle, wait for its score, and record both in the ledger.

      python -m comp submit push submissions/demo.csv -m "first try"
      python -m comp submit push by-hand.csv -m "by hand" -c configs/deep_efficientnet.yaml submit.kaggle=NAME

    NAME is the last part of the competition's URL: submit.kaggle in the file's JSON or in the config. Make an API
    key at https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN, or write it to ~/.kaggle/access_token.
    Install the client with pip install -e '.[kaggle]'.

    The file is first checked as by submit check, and a refused file is not sent; nor is one beyond the day's quota:
    Kaggle's own count of what is left, else submit.per_day. The message contains CV and the first digits of the
    content's hash, so the same content is never sent twice: after a kill or a timeout, the same command finds the
    file in Kaggle's list and continues.

    Exit status: 0 the score is in the ledger, 1 the file was not sent or not scored, 2 there is something to fix.
    """
    from pathlib import Path

    from comp.errors import UserError
    from comp.submit.check import check_submission
    from comp.submit.competition import config_from_args
    from comp.submit.manifest import find_submission
    from comp.submit.push import push as push_submission
    from comp.track.live import report_scores

    if not 0 <= args.timeout < float("inf"):  # waiting for nan seconds would never end
        raise UserError(f"--timeout {args.timeout:g} is not a number of seconds; use for example 300")
    report = check_submission(find_submission(args.file), config_from_args(args.config, args.overrides), args.yes)
    status = push_submission(report, args.message, args.timeout)
    report_scores(report.id, Path(report.competition.ledger))
    return status


def log_arguments(parser: argparse.ArgumentParser) -> None:
    _add_submission_arguments(parser)
    parser.add_argument("--public", type=float, metavar="SCORE", help="score on the public leaderboard")
    parser.add_argument("--private", type=float, metavar="SCORE", help="score on the private leaderboard")
    parser.add_argument("--rank", type=int, metavar="N", help="rank on the leaderboard")
    parser.add_argument("--message", "-m", default="", metavar="TEXT", help="note it in the ledger")
    parser.add_argument("--sent", action="store_true", help="record that it was submitted, also without a score")


def log(args: argparse.Namespace) -> None:
    """Record a score by hand: a line in the ledger.

      python -m comp submit log submissions/demo.csv --public 0.984
      python -m comp submit log demo --public 0.984 --private 0.979 --rank 12 --message "longer training"
      python -m comp submit log demo --sent                         submitted, score not known yet
      python -m comp submit log by-hand.csv --public 0.98 -c configs/deep_efficientnet.yaml      made elsewhere

    A file with a score was submitted, so that is recorded too where it is missing. Nothing is overwritten: of two
    scores the later one counts. The ledger is that of the competition in the JSON beside the file.
    """
    from pathlib import Path

    from comp.errors import UserError
    from comp.submit import ledger
    from comp.submit.competition import config_from_args
    from comp.submit.manifest import competition_for
    from comp.submit.manual_score import resolve_entry, score_events
    from comp.track.live import report_scores

    scores = {"public": args.public, "private": args.private, "rank": args.rank}
    if set(scores.values()) == {None} and not args.sent:
        raise UserError("no score given; pass --public SCORE or --sent")
    config = config_from_args(args.config, args.overrides)
    competition = competition_for(args.file, config)
    entry = resolve_entry(args.file, competition)
    events = score_events(
        entry,
        public=args.public,
        private=args.private,
        rank=args.rank,
        message=args.message,
        metric=config.train.metric if config else "",
    )
    ledger.append(Path(competition.ledger), *events)
    recorded = " and ".join(event.event for event in events) or "was already recorded as " + (
        "scored" if entry.scored else "sent"
    )
    values = ", ".join(f"{name} {value:g}" for name, value in scores.items() if value is not None)
    print(f"{competition.ledger}: {entry.id} {recorded}{': ' if values else ''}{values}")
    report_scores(entry.id, Path(competition.ledger))


def status_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def status(args: argparse.Namespace) -> None:
    """List a competition's submissions, plot CV against LB, and propose the files to select at the end.

      python -m comp submit status
      python -m comp submit status -c configs/demo.yaml

    The table shows the latest ledger entry per submission, newest first. runs/submissions/<competition>.png plots CV
    against LB with 95 % intervals. Two files are proposed: the best CV, and the best CV and LB together (for
    accuracy their mean weighted by images, else by ranks); "inside the noise" lists those inside the interval of the
    best one. Nothing is selected: use `submit final FILE`.
    """
    from pathlib import Path

    from comp import config
    from comp.submit.cv_lb_plot import draw_cv_vs_lb
    from comp.submit.status import status as read_status

    state = read_status(config.load(args.config, args.overrides)[0])
    print(state.to_text())
    path = Path(f"runs/submissions/{state.competition.name}.png")
    if draw_cv_vs_lb(path, state):
        print(f"CV against LB: {path}")


def final_arguments(parser: argparse.ArgumentParser) -> None:
    _add_submission_arguments(parser)


def final(args: argparse.Namespace) -> None:
    """Name the submission that counts, in the file FINAL beside the ledger.

      python -m comp submit final submissions/demo.csv

    The submission must be in the ledger. `submit status` proposes files, and warns when FINAL names one that was
    never submitted or has changed since.
    """
    import sys
    from pathlib import Path

    from comp.submit import ledger
    from comp.submit.competition import config_from_args
    from comp.submit.final import final_warning, find_entry, write_final
    from comp.submit.manifest import competition_for

    competition = competition_for(args.file, config_from_args(args.config, args.overrides))
    path = Path(competition.ledger)
    entries = ledger.latest_entries(ledger.read(path))
    entry = find_entry(args.file, entries, path)
    write_final(competition.final, entry)
    print(f"{competition.final} names {entry.id}")
    warning = final_warning(competition, entries)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)


def reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the file's name below submissions/ without .csv, or its path")
    add_device_argument(parser)


def reproduce(args: argparse.Namespace) -> int:
    """Reproduce a past submission from its manifest, and compare it with the recorded hash.

      python -m comp submit reproduce seeds           submissions/seeds.csv, by submissions/seeds.json
      python -m comp submit reproduce old/seeds       submissions/old/seeds.csv

    Predictions are computed from the weights that the manifest names; stored predictions are not used. A missing CSV
    is restored if the bytes match; an existing CSV is never overwritten. If the bytes differ, the changes are listed:
    weights of a fold, a missing run, test images, the sample, the classes. If none of these changed, versions and code
    are listed as possible causes.

    Exit status: 0 the same bytes, 1 other bytes, 2 there is no manifest.
    """
    from comp.ship.reproduce import reproduce_submission

    reproduction = reproduce_submission(args.id, args.device)
    sha256 = reproduction.manifest.sha256[:12]
    if reproduction.is_identical:
        restored = ", restored" if reproduction.restored else ""
        print(f"{reproduction.path}: the same bytes, sha256 {sha256}{restored}")
        for change in reproduction.changes:
            print(f"  although this changed: {change}")
        return 0
    print(f"{reproduction.path} cannot be reproduced with the same bytes, sha256 {sha256}")
    for change in reproduction.changes:
        print(f"  changed: {change}")
    for cause in reproduction.possible_causes:
        print(f"  possible cause: {cause}")
    return 1


def bundle_arguments(parser: argparse.ArgumentParser) -> None:
    add_blend_arguments(parser)


def bundle(args: argparse.Namespace) -> None:
    """Pack a submission for a competition whose notebooks have no internet: code, weights and a notebook in a zip.

      python -m comp bundle                                      the main model's run -> runs/bundles/<name>.zip
      python -m comp bundle a b c --blend greedy --tta auto --budget 60s --name tuned
      python -m comp bundle a --fold full                        the model trained on all images

    First makes the submission, as infer.py does with the same arguments. The bundle is then verified before it gets
    its name: unpacked elsewhere, in a process without the network, without this directory and without any library
    it does not require, its notebook must write the same bytes from the test images and the sample alone. Its size
    and the time it takes on this machine are printed.

    On Kaggle: upload the zip as a dataset, import its notebook.ipynb (unzip -j ZIP notebook.ipynb), add the dataset
    and the competition as inputs, switch the internet off, run, submit. It predicts all images in the test/ folder
    beside the sample there, on a GPU if there is one, and writes submission.csv.
    """
    from comp import config, runs
    from comp.blending.infer import InferOptions, infer
    from comp.ship.bundle import make_bundle

    options = InferOptions(
        args.blend, args.tta, args.budget, args.calibrate, full=args.fold == "full", name=args.name or ""
    )
    names = args.runs or [config.load(DEFAULT_CONFIG)[0].name]
    bundle = make_bundle(infer(runs.find_runs(names), options))
    timing = bundle.timing
    seconds = timing.load_seconds + timing.predict_seconds
    per_image = timing.predict_seconds / timing.images
    print(f"verified: from the bundle alone, without network, the same bytes in {seconds:.1f} s")
    print(
        f"wrote {bundle.path}: {bundle.path.stat().st_size / 1e6:.1f} MB; on this machine 1,000 images take about "
        f"{timing.load_seconds + 1000 * per_image:.0f} s"
    )
