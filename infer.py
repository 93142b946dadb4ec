"""Write a leaderboard CSV: the mean over folds and views of one run, or of several.

  python infer.py                              the main model's run -> submissions/deep_efficientnet.csv
  python infer.py recipes/ema --tta d4         one run, averaged over the eight views of a square
  python infer.py 'deep_efficientnet*' --name seeds    several runs by a quoted pattern, their mean
  python infer.py --fold full                  the model trained on everything (it has no CV)
  python infer.py --runtime onnx               computed by ONNX Runtime; exports the run first where needed

Prints the CV of exactly what it writes. The form of the file is that of input/<dataset>/sample_submission.csv.

Runtimes: torch computes as the run was trained, on a CPU by a frozen graph. onnx and openvino compute on the CPU in 32
bits from the files of `python -m comp export`, which agree with torch or are refused. They keep their predictions in
runs/RUN/predictions/<runtime>/, so torch's stay as they are. They need: pip install -e '.[export]'
"""

from __future__ import annotations

from comp.cli import DEFAULT_CONFIG, Parser, run_guarded


def parser() -> Parser:
    parser = Parser(prog="infer.py", description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names, paths or quoted patterns below runs/")
    parser.add_argument("--tta", choices=("none", "flips", "d4"), help="views averaged (default: the run's infer.tta)")
    parser.add_argument("--fold", choices=("full",), help="use the model trained on all images, not the folds'")
    parser.add_argument("--name", help="name the result; otherwise the runs do")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--runtime", choices=("torch", "onnx", "openvino"), default="torch",
                        help="what computes (default: %(default)s)")
    return parser


def main() -> None:
    args = parser().parse_args()
    from comp import config, experiment, runs  # after --help, which must not wait for torch
    wanted = args.runs or [config.load(DEFAULT_CONFIG)[0].name]
    experiment.infer(runs.find_runs(wanted), tta=args.tta, full=args.fold == "full", name=args.name,
                     device=args.device, runtime=args.runtime)


if __name__ == "__main__":
    raise SystemExit(run_guarded(main))
