"""Train a config: the requested folds, resuming those that were interrupted.

  python train.py                                   every fold of the main model
  python train.py --fold 0                          one fold; also 0,3 and 0..4
  python train.py --fold full                       on all images, without validation
  python train.py --jobs 5                          five folds at a time, a process each
  python train.py --launcher ray --address auto --gpus 1
                                                    each fold on any node of a Ray cluster; slurm: as an array job
  torchrun --nproc_per_node=4 train.py --fold 0     one fold on four GPUs
  python train.py -c configs/recipes/ema.yaml train.epochs=30 optim.lr=3e-4
  python train.py train.seed=0,1,2                  three sibling runs
  python train.py model.name=resnet18.a1_in1k model.dropout=null model.drop_path=null model.weights=resnet18.safetensors
                                                    from pretrained weights, where the rules allow it

Weights: a .safetensors or .pth file of timm, torchvision or this kit. The classifier is new where its size differs, and
one line names each tensor that is not loaded. train.freeze_epochs=2 trains only the classifier at first.

A run is stored in runs/<config>+<overrides>/. To resume it, run the same command again.
"""

from __future__ import annotations

import contextlib
import shlex

from comp.cli import (
    Parser,
    add_config_arguments,
    add_device_argument,
    add_launch_arguments,
    add_verify_argument,
    announce_imports,
    run_main,
)
from comp.errors import UserError


def parser() -> Parser:
    parser = Parser(prog="train.py", description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        "--fold",
        metavar="K",
        help="train fold 2, or 0,3, or 0..4, or full: all images without validation (default: every fold)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="train N folds at a time, each in a process of its own (default: 1)",
    )
    parser.add_argument("--name", help="name the run (default: the config and its overrides)")
    parser.add_argument(
        "--restart", action="store_true", help="train from scratch; the old run moves to runs/.replaced/"
    )
    parser.add_argument(
        "--debug", action="store_true", help="train a few batches of one epoch from scratch, into runs/debug/"
    )
    add_device_argument(parser)
    add_verify_argument(parser)
    add_launch_arguments(parser)
    return parser


def main() -> None:
    args = parser().parse_intermixed_args()
    if args.jobs < 1:
        raise UserError("--jobs must be 1 or more")
    announce_imports()
    from comp import config  # not before --help, which must not wait for torch
    from comp.data.cache import verify_cache
    from comp.data.scan import scan
    from comp.engine import distributed
    from comp.launch.options import LaunchOptions, open_trainer
    from comp.training.summary import summary_line

    options = LaunchOptions.of_command(args)
    with distributed.process_group(), contextlib.ExitStack() as stack:
        run_configs = config.load(args.config, args.overrides, args.name)
        if args.verify_cache:
            distributed.call_on_rank_zero(lambda: verify_cache(scan(run_configs[0].data.root)))
        trainer = stack.enter_context(open_trainer(options, args.device))
        here = {} if options else {"debug": args.debug, "jobs": args.jobs}
        for run_config in run_configs:
            metrics = trainer.run_experiment(run_config, fold=args.fold, restart=args.restart, **here)
            if not args.debug:
                print(f"report: python -m comp report {shlex.quote(metrics.run)}")
            print(summary_line(metrics, full=args.fold == "full"))


if __name__ == "__main__":
    raise SystemExit(run_main(main))
