"""timm's own dataset, loader, transforms and loop, as its train.py puts them together with its defaults; the optimiser
is AdamW. --equalised gives it what the kit gives itself: the allocator's settings and channels-last."""

from __future__ import annotations

import torch
from peer import DEVICE, LR, SMOOTHING, WEIGHT_DECAY, Enough, Stopwatch, arguments, new_model
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2

from comp.engine.device import configure_allocator


def main() -> None:
    args = arguments(equalised="with the kit's allocator settings and channels-last")
    layout = torch.channels_last if args.equalised else torch.contiguous_format
    if args.equalised:
        configure_allocator()
    dataset = create_dataset("", root=args.images, split="train", is_training=True, batch_size=args.batch)
    model = new_model(args.model, len(dataset.reader.class_to_idx)).to(DEVICE, memory_format=layout)
    data_config = resolve_data_config({"input_size": (3, args.size, args.size)}, model=model)
    loader = create_loader(
        dataset,
        input_size=data_config["input_size"],
        batch_size=args.batch,
        is_training=True,
        hflip=0.5,
        color_jitter=0.4,
        interpolation="random",
        mean=data_config["mean"],
        std=data_config["std"],
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        device=DEVICE,
    )
    optimizer = create_optimizer_v2(model, opt="adamw", lr=LR, weight_decay=WEIGHT_DECAY)
    loss_of = LabelSmoothingCrossEntropy(smoothing=SMOOTHING).to(DEVICE)
    watch = Stopwatch()
    model.train()
    try:
        while True:
            for images, targets in loader:
                loss = loss_of(model(images.contiguous(memory_format=layout)), targets)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                watch.step(len(images))
    except Enough:
        watch.report(workers=args.workers, equalised=args.equalised)


if __name__ == "__main__":
    main()
