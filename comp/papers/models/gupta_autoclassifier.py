"""Gupta's AutoClassifier: a network on the 64 numbers to which an autoencoder, trained before, reduces an image.

model = timm.create_model("gupta_autoclassifier", num_classes=8)    # its encoder is frozen
pretraining = model.autoencoder()      # thaws it: pretraining(images) is the error of each, to be minimised
model.freeze()                         # and the classifier can be trained
"""

from __future__ import annotations

import torch
from torch import nn

from comp.zoo.layers import Classifier, SamePadMaxPool, conv_bn_relu, feature_map_side
from comp.zoo.registry import UNIT_RANGE, register_paper_model

LATENT = 64


class Encoder(nn.Module):
    """Image to 64 numbers. While frozen nothing in it changes: it stays in evaluation mode whatever is asked."""

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
        self.frozen = frozen
        self.requires_grad_(not frozen).train(not frozen)

    def train(self, mode: bool = True) -> Encoder:
        return super().train(mode and not self.frozen)


class Reconstruction(nn.Module):
    """The pretraining stage: an encoder, a decoder of its own, and how far the picture that comes back is off."""

    def __init__(self, encoder: Encoder, in_chans: int, img_size: int):
        super().__init__()
        self.encoder = encoder
        side = -(-img_size // 16)  # what does not come out even is drawn larger and cut: 28 px begins as 2 x 2
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
        """The mean squared error of every image, (N,)."""
        drawn = self.decoder(self.encoder(images))[..., : images.shape[2], : images.shape[3]]
        return (drawn - images).square().mean((1, 2, 3))


def upsample_conv(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1)


class AutoClassifier(Classifier):
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
        """2 x 2, and its places are no places of the image: the latent numbers lie between."""
        return self.features(self.encoder(x))

    def autoencoder(self) -> Reconstruction:
        """A stage with a new decoder, training this model's own encoder; only the stage holds the decoder."""
        self.encoder.freeze(False)
        return Reconstruction(self.encoder, self.in_chans, self.img_size).to(self.encoder.latent.weight)

    def freeze(self) -> None:
        self.encoder.freeze()


@register_paper_model(UNIT_RANGE)
def gupta_autoclassifier(
    num_classes: int = 1000, in_chans: int = 3, img_size: int = 64, drop_rate: float = 0.3
) -> AutoClassifier:
    """1,590,696 parameters to train after its encoder is frozen, 2,245,224 numbers in all."""
    return AutoClassifier(num_classes, in_chans, img_size, drop_rate)
