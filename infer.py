"""Write a leaderboard CSV: the blend of folds, views and runs, and print its cross-fitted score.

  python infer.py                              the main model's run -> submissions/deep_efficientnet.csv
  python infer.py recipes/ema --tta d4         one run, averaged over the eight views of a square
  python infer.py a b c --blend greedy         several runs, weighted by ensemble selection
  python infer.py 'tune/*' --blend weights --tta auto --budget 60s --name tuned      by a quoted pattern
  python infer.py --fold full                  the model trained on every image (it has no CV)
  python infer.py --runtime onnx               computed by ONNX Runtime; exports the run first if needed

Blends: mean and geometric average probabilities; vote counts predictions; greedy repeatedly adds the member that
improves the score most; weights has the lowest log loss; stack is a logistic regression on log probabilities.
Every member has a temperature. Weights, temperatures and views are fitted to out-of-fold predictions, and each fold is
scored by a blend fitted to the others. The table shows this cross-fitted score beside the naive one. The blend is
explained in runs/blends/NAME/. The format of the file is that of input/<dataset>/sample_submission.csv.

Runtimes: torch predicts with the operations that the run was trained with, on a CPU by a frozen graph. onnx and
openvino predict on the CPU in 32 bits from the files of `python -m comp export`, and openvino-bf16 in 16 bits on a
processor that can. Files that disagree with torch are refused. Their predictions are in
runs/RUN/predictions/<runtime>/, apart from torch's. They need:
pip install -e '.[export]'
"""

from __future__ import annotations

import shlex

from comp.cli import (
    DEFAULT_CONFIG,
    Parser,
    add_blend_arguments,
    add_device_argument,
    add_verify_argument,
    announce_imports,
    run_main,
)


def parser() -> Parser:
    """Return the parser of infer.py's arguments."""
    parser = Parser(prog="infer.py", description=__doc__)
    add_blend_arguments(parser)
    add_device_argument(parser)
    add_verify_argument(parser)
    parser.add_argument(
        "--runtime",
        choices=("torch", "onnx", "openvino", "openvino-bf16"),
        default="torch",
        help="predict with this library (default: %(default)s)",
    )
    return parser


def main() -> None:
    """Blend the runs that the arguments name, and write a submission."""
    args = parser().parse_args()
    announce_imports()
    from comp import config, runs  # after --help, which must not import torch
    from comp.blending.infer import InferOptions, infer
    from comp.data.cache import verify_cache
    from comp.data.scan import scan

    names = args.runs or [config.load(DEFAULT_CONFIG)[0].name]
    options = InferOptions(
        method=args.blend,
        tta=args.tta,
        budget_seconds=args.budget,
        calibrate=args.calibrate,
        full=args.fold == "full",
        name=args.name or "",
        device=args.device,
        runtime=args.runtime,
    )
    members = runs.find_runs(names)
    if args.verify_cache:
        for root in dict.fromkeys(run.config.data.root for run in members):
            verify_cache(scan(root))
    path = infer(members, options)
    print(f"report: python -m comp report {shlex.quote(str(path))}")
    print(f"next: python -m comp submit check {path}")


if __name__ == "__main__":
    raise SystemExit(run_main(main))
