"""Gupta's AutoClassifier: a classifier of the 64 numbers to which a pretrained autoencoder reduces an image.

model = timm.create_model("gupta_autoclassifier", num_classes=8)    # its encoder is frozen
pretraining = model.autoencoder()      # unfreezes the encoder; minimise the mean of pretraining(images)
model.freeze()                         # then train the classifier
"""

from __future__ import annotations

import torch
from torch import nn

from comp.papers.models.layers import Classifier, SamePadMaxPool, conv_bn_relu, feature_map_side
from comp.zoo.registry import UNIT_RANGE, register_paper_model

LATENT = 64


class Encoder(nn.Module):
    """Encode an image as 64 numbers. While frozen it stays in evaluation mode, so that nothing in it changes."""

    def __init__(self, in_chans: int, img_size: int):
        super().__init__()
        self.frozen = False
        layers: list[nn.Module] = []
        inputs = in_chans
        for width in (32, 64, 128, 256):
            layers += [*conv_bn_relu(inputs, width, activation=nn.ELU), nn.MaxPool2d(2)]
            inputs = width
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.latent = nn.Linear(inputs * feature_map_side(img_size, 4) ** 2, LATENT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.latent(self.layers(x))

    def freeze(self, frozen: bool = True) -> None:
        """Freeze or unfreeze the parameters and the running statistics."""
        self.frozen = frozen
        self.requires_grad_(not frozen).train(not frozen)

    def train(self, mode: bool = True) -> Encoder:
        return super().train(mode and not self.frozen)


class Reconstruction(nn.Module):
    """The pretraining stage: the model's encoder and a new decoder; the output is each image's reconstruction error."""

    def __init__(self, encoder: Encoder, in_chans: int, img_size: int):
        super().__init__()
        self.encoder = encoder
        side = -(-img_size // 16)  # rounded up; `forward` crops what is too large: 28 px begins as 2 x 2
        layers: list[nn.Module] = [
            nn.Linear(LATENT, 256 * side**2),
            nn.ELU(inplace=True),
            nn.Unflatten(1, (256, side, side)),
        ]
        inputs = 256
        for width in (128, 64, 32):
            layers += [upsample_conv(inputs, width), nn.ELU(inplace=True)]
            inputs = width
        self.decoder = nn.Sequential(*layers, upsample_conv(inputs, in_chans))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error of every image, (N,)."""
        reconstruction = self.decoder(self.encoder(images))[..., : images.shape[2], : images.shape[3]]
        return (reconstruction - images).square().mean((1, 2, 3))


def upsample_conv(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Return a transposed convolution that doubles the side of a feature map."""
    return nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1)


class AutoClassifier(Classifier):
    """An encoder, and a convolutional classifier of its 64 numbers as a map of 16 channels and 2 x 2 positions."""

    def __init__(self, num_classes: int, in_chans: int, img_size: int, drop_rate: float):
        features: list[nn.Module] = [nn.Unflatten(1, (16, 2, 2))]
        inputs = 16
        for width in (32, 64, 128, 256, 512):
            features += [*conv_bn_relu(inputs, width), SamePadMaxPool()]
            inputs = width
        super().__init__(features, [nn.Flatten(), nn.Dropout(drop_rate)], inputs * 2 * 2, num_classes)
        self.in_chans, self.img_size = in_chans, img_size
        self.encoder = Encoder(in_chans, img_size)
        self.freeze()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the latent vector as a 2 x 2 feature map, whose positions are not positions of the image."""
        return self.features(self.encoder(x))

    def autoencoder(self) -> Reconstruction:
        """Return a pretraining stage that trains this model's encoder with a new decoder; only the stage holds it."""
        self.encoder.freeze(False)
        return Reconstruction(self.encoder, self.in_chans, self.img_size).to(self.encoder.latent.weight)

    def freeze(self) -> None:
        """Freeze the encoder after pretraining."""
        self.encoder.freeze()


@register_paper_model(UNIT_RANGE)
def gupta_autoclassifier(
    num_classes: int = 1000, in_chans: int = 3, img_size: int = 64, drop_rate: float = 0.3
) -> AutoClassifier:
    """Return the AutoClassifier: 2,245,224 parameters and statistics, 1,590,696 trainable with a frozen encoder."""
    return AutoClassifier(num_classes, in_chans, img_size, drop_rate)
