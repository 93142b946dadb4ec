"""The command pretrain: self-supervised training of a backbone."""

from __future__ import annotations

import argparse

from comp.cli import add_config_arguments, add_device_argument


def pretrain_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--name", help="name the directory below runs/pretrained/ (default: the config and overrides)")
    parser.add_argument("--restart", action="store_true", help="start again; the old one moves to runs/.replaced/")
    add_device_argument(parser)


def pretrain(args: argparse.Namespace) -> None:
    """Train the backbone of a config by SimCLR on all images without labels, once for all folds.

      python -m comp pretrain -c configs/recipes/simclr.yaml --name ssl
      python train.py model.name=resnet10t model.weights=runs/pretrained/ssl/weights.pt

    Each image is augmented twice by augment.policy. train.epochs, train.batch, optim and schedule are those of the
    pretraining. simclr.test_images=true uses the test images too; runs that start from the weights record what was
    seen. To resume, run the same command again.
    """
    from comp import config
    from comp.cli import announce_imports
    from comp.engine.device import choose_device

    announce_imports()
    from comp.training.self_supervised import pretrain as pretrain_backbone

    device = choose_device(args.device)
    for pretraining in config.load(args.config, args.overrides, args.name):
        weights = pretrain_backbone(pretraining, device, args.restart)
        print(f"next: python train.py -c {args.config} model.weights={weights}")
