"""fastai: ImageDataLoaders, aug_transforms() on the batch, and a Learner with its own optimiser: Adam with decoupled
weight decay."""

from __future__ import annotations

from fastai.callback.core import Callback, CancelFitException
from fastai.losses import LabelSmoothingCrossEntropyFlat
from fastai.metrics import accuracy
from fastai.vision.all import ImageDataLoaders, Learner, Normalize, Resize, aug_transforms, imagenet_stats
from peer import LR, SMOOTHING, WEIGHT_DECAY, Enough, Stopwatch, arguments, new_model


class Watched(Callback):
    def __init__(self, watch: Stopwatch):
        self.watch = watch

    def after_batch(self):
        if self.training:
            try:
                self.watch.step(len(self.xb[0]))
            except Enough:
                raise CancelFitException from None


def main() -> None:
    args = arguments()
    loaders = ImageDataLoaders.from_folder(
        args.images / "train",
        valid_pct=0.2,
        seed=42,
        item_tfms=Resize(args.size),
        bs=args.batch,
        batch_tfms=[*aug_transforms(), Normalize.from_stats(*imagenet_stats)],
        num_workers=args.workers,
    )
    learner = Learner(
        loaders,
        new_model(args.model, loaders.c),
        metrics=accuracy,
        wd=WEIGHT_DECAY,
        loss_func=LabelSmoothingCrossEntropyFlat(eps=SMOOTHING),
    )
    watch = Stopwatch()
    with learner.no_bar(), learner.no_logging():
        learner.fit(1000, lr=LR, cbs=Watched(watch))
    watch.report(workers=args.workers)


if __name__ == "__main__":
    main()
