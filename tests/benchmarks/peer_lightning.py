"""Lightning's Trainer around torchvision's ImageFolder, with the transforms of torchvision's ImageNet example."""

from __future__ import annotations

import logging
import warnings

import lightning
import torch
from peer import LR, SMOOTHING, WEIGHT_DECAY, Enough, Stopwatch, arguments, new_model
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder


class Classifier(lightning.LightningModule):
    def __init__(self, model: torch.nn.Module, watch: Stopwatch):
        super().__init__()
        self.model, self.watch = model, watch

    def training_step(self, batch, index):
        return functional.cross_entropy(self.model(batch[0]), batch[1], label_smoothing=SMOOTHING)

    def on_train_batch_end(self, outputs, batch, index):
        self.watch.step(len(batch[1]))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)


def main() -> None:
    warnings.simplefilter("ignore")  # that there are few workers, and no validation
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    args = arguments()
    images = ImageFolder(
        str(args.images / "train"),
        transforms.Compose(
            [
                transforms.RandomResizedCrop(args.size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        ),
    )
    loader = DataLoader(images, args.batch, shuffle=True, num_workers=args.workers, persistent_workers=args.workers > 0)
    watch = Stopwatch()
    trainer = lightning.Trainer(
        max_epochs=-1,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(Classifier(new_model(args.model, len(images.classes)), watch), loader)
    except Enough:
        watch.report(workers=args.workers)


if __name__ == "__main__":
    main()
