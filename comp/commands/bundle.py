"""Pack a submission for a competition whose notebooks have no internet: code, weights and a notebook in one zip.

  python -m comp bundle                                      the main model's run -> runs/bundles/deep_efficientnet.zip
  python -m comp bundle a b c --blend greedy --tta auto --budget 60s --name tuned
  python -m comp bundle a --fold full                        the model trained on everything

Makes the submission first, as infer.py does with the same words. The bundle is then rehearsed before it gets its name:
unpacked elsewhere, in a process without the network, without this directory and with no library but those it asks for,
its notebook must write the same bytes from the test images and the sample alone. Printed are its size, and what it
takes here.

On Kaggle: upload the zip as a dataset, import its notebook.ipynb (unzip -j ZIP notebook.ipynb), add the dataset and the
competition as inputs, switch the internet off, run, submit. It predicts all images in the test/ folder beside the
sample there, however many those are, on a GPU if there is one, and writes submission.csv.
"""

from __future__ import annotations

import argparse

from comp.cli import DEFAULT_CONFIG, add_blend_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_blend_arguments(parser)
    parser.add_argument("--fold", choices=("full",), help="use the model trained on all images, not the folds'")


def run(args: argparse.Namespace) -> None:
    from comp import config, runs
    from comp.blending.infer import InferOptions, infer
    from comp.ship.bundle import make_bundle

    wish = InferOptions(args.blend, args.tta, args.budget, args.temperature, args.fold == "full", args.name)
    wanted = args.runs or [config.load(DEFAULT_CONFIG)[0].name]
    made, took = make_bundle(infer(runs.find_runs(wanted), wish))
    print(f"rehearsed: from the bundle alone, without network, the same bytes in {took.start + took.work:.1f} s")
    print(
        f"wrote {made}: {made.stat().st_size / 1e6:.1f} MB; on this machine 1,000 images take about "
        f"{took.start + 1000 * took.work / took.images:.0f} s"
    )
