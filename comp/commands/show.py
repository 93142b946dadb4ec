"""Draw augmented samples: a row per class, the picture as it is and then as the model may see it.

  python -m comp data show                                 runs/checks/blood-cells-paper.png
  python -m comp data show augment.policy=heavy augment.device=gpu --columns 10

Without augment.device, --columns made one by one on the CPU (albumentations) and as many in one batch on the device.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from comp.cli import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--columns", type=int, default=8, help="versions of each picture, made each way (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which pictures, and which draws")
    parser.add_argument("--out", type=Path, help="where to write the PNG")


def run(args: argparse.Namespace) -> None:
    from comp import config
    from comp.batches.gallery import draw_gallery, write_png
    from comp.batches.policies import check_policy
    from comp.data.cache import make_square_spec
    from comp.data.scan import scan
    from comp.errors import UserError

    if args.columns < 1 or args.seed < 0:
        raise UserError("--columns must be 1 or more and --seed 0 or more")
    settings = config.load(args.config, args.overrides)[0]
    check_policy(settings.augment.policy)
    data = settings.data
    out = args.out or Path(f"runs/checks/{settings.dataset}-{settings.augment.policy}.png")
    dataset = scan(data.root)
    square = make_square_spec(dataset.train, data.size, data.fit, data.crop)
    sheet = draw_gallery(
        dataset, settings.augment.policy, settings.augment.device, square, min(data.size, 160), args.columns, args.seed
    )
    write_png(out, sheet)
    print(f"wrote {out}: {settings.augment.policy}, the first column is the picture as it is")
