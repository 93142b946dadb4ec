"""The models of a run as files that need no torch, refused unless they say the same as torch on real images.

  python -m comp export --to onnx                         the main model's run: runs/<name>/fold<k>/model.onnx
  python -m comp export recipes/ema --to openvino         model.xml and model.bin beside the weights of each fold
  python -m comp export recipes/ema --to onnx --fold full      the model trained on everything, to use elsewhere

A file takes any number of pictures as bytes: `images`, uint8 (N, size, size, 3), RGB, already square; normalisation is
inside. It gives `logits`, float32 (N, classes), computed in 32 bits. Before it is written, its logits of 64 training
images are held against torch's, in batches of 1 and 32: printed are the largest difference and on how many images both
name the same class. It is refused where that is not all of them, or the difference is above 1e-4 of the largest logit.
Beside it, model.<runtime>.json has the classes in order, the size, these figures, and the hashes of weights and files.

`python infer.py --runtime onnx` computes with these files, and exports again what is missing or older than its
weights. All of this needs: pip install -e '.[export]'
"""

from __future__ import annotations

import argparse

from comp.cli import DEFAULT_CONFIG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names, paths or quoted patterns below runs/")
    parser.add_argument("--to", choices=("onnx", "openvino"), required=True, help="the kind of file")
    parser.add_argument("--fold", choices=("full",), help="the model trained on all images, not the folds'")


def run(args: argparse.Namespace) -> None:
    from comp import config, runs
    from comp.prediction.export import export_run

    for each in runs.find_runs(args.runs or [config.load(DEFAULT_CONFIG)[0].name]):
        export_run(each, args.to, full=args.fold == "full")
