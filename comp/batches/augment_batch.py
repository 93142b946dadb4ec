"""The policies carried out on whole batches, on whatever device holds them.

All geometry is one matrix and one look-up per pixel, all colour one matrix; `draws.py` decides what happens to whom.
Where this cannot equal `augment.py`, with the same odds and ranges:

* Above half the square's side, pixels are interpolated once; there they are again by the resize, and by bends.
* Bends mirror the square at the border, not the picture already warped. The elastic field is a window of one large
  field, and noise a stretch of one long row, both drawn once.
* Colour is not clipped or rounded between its parts, whose order is fixed, and hue turns about the grey axis at equal
  mean, not in HSV at an equal maximum: 7 grey levels apart at the ends of its range, on blood cells.
* Values are not rounded to whole numbers at the end, nor shifts and windows to whole pixels.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from comp.batches.augment_sampling import ELASTIC, GRID, SampledTransforms
from comp.batches.policies import ELASTIC_ALPHA, ELASTIC_SIGMA


def augment_batch(squares: torch.Tensor, draws: SampledTransforms, size: int) -> torch.Tensor:
    """uint8 (N, S, S, 3) to float (N, 3, size, size) from 0 to 255. Nothing here waits for the device."""
    images, device = _warp(squares, draws, size), squares.device
    if (draws.spread != np.eye(3)).any():
        images = _jitter_colour(images, to_device(draws.spread, device), to_device(draws.level, device))
    for chosen, change in (
        (draws.sigma > 0, _blur),
        (draws.noise > 0, _add_noise),
        (draws.holes.any((1, 2)), _cut_holes),
    ):
        if chosen.any():  # known on the host: to ask the device would be to wait for it
            where = to_device(np.flatnonzero(chosen), device)
            images.index_copy_(0, where, change(images[where], draws.of(chosen)))
    return images


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Whole numbers, or float32. A blocking copy would wait for all that the device still has to do."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return (tensor.float() if tensor.is_floating_point() else tensor).to(device, non_blocking=True)


def _warp(squares: torch.Tensor, draws: SampledTransforms, size: int) -> torch.Tensor:
    """From half the square's side down every pixel of the result is the mean of 2 x 2 places, in a square shrunk by
    areas to no less than twice the result: else training images would be jagged where validation's are not."""
    images, side = squares.permute(0, 3, 1, 2).float(), squares.shape[1]
    finer = 2 if side >= 2 * size else 1
    if side >= 4 * size:
        side //= side // (2 * size)
        images = F.adaptive_avg_pool2d(images, side)
    # with align_corners the outermost pixels' centres are at -1 and 1, and mirrored there as by OpenCV's REFLECT_101
    matrix = to_device(draws.matrix * (side / (side - 1)), images.device)[:, None, None]
    line = _centres(finer * size, images.device)[:, None]
    places = matrix[..., 0] * line + (matrix[..., 1] * line[:, None] + matrix[..., 2])
    for kind, moves in ((ELASTIC, _elastic_displacement), (GRID, _grid_displacement)):
        chosen = draws.bend == kind
        if chosen.any():
            where = to_device(np.flatnonzero(chosen), images.device)
            moved = moves(draws.of(chosen), size, finer, images.device) @ matrix[where, 0, 0, :, :2].mT
            places.flatten(1, 2).index_add_(0, where, moved)
    images = F.grid_sample(images, places, padding_mode="reflection", align_corners=True)
    return F.avg_pool2d(images, 2) if finer == 2 else images


def _centres(side: int, device: torch.device) -> torch.Tensor:
    """Where a line of pixels lies between the edges, -1 and 1."""
    return (torch.arange(side, device=device) + 0.5) * (2 / side) - 1


def _elastic_displacement(draws: SampledTransforms, size: int, finer: int, device: torch.device) -> torch.Tensor:
    """Displacements (n, side * side, 2), each a window of the one field."""
    field, side = _elastic_field(size, finer, device), finer * size
    top, left = (to_device((share * (field.shape[1] - side)).astype(int), device) for share in draws.window.T)
    return field.unfold(1, side, 1).unfold(2, side, 1)[:, top, left].flatten(2).permute(1, 2, 0)


@lru_cache(maxsize=2)
def _elastic_field(size: int, finer: int, device: torch.device) -> torch.Tensor:
    """A smooth field (2, 4 * side, 4 * side) as strong as albumentations': it takes white noise, divides by the
    greatest of an image's values, blurs and multiplies by alpha: 0.4 pixels in the end."""
    noise = np.random.default_rng(0).standard_normal((4 * finer * size, 4 * finer * size, 2), np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), finer * ELASTIC_SIGMA)
    greatest = NormalDist().inv_cdf(1 - 0.28 / (2 * size**2))  # of 2 * size**2 values, on average
    pixels = ELASTIC_ALPHA / (2 * math.sqrt(math.pi) * ELASTIC_SIGMA) / greatest
    return torch.from_numpy(smooth / smooth.std() * pixels * 2 / size).permute(2, 0, 1).contiguous().to(device)


def _grid_displacement(draws: SampledTransforms, size: int, finer: int, device: torch.device) -> torch.Tensor:
    """Displacements (n, side * side, 2): between an even grid's lines, everything is stretched or squeezed."""
    places = _centres(finer * size, torch.device("cpu")).numpy()
    even = np.linspace(-1, 1, draws.lines.shape[2])
    across, down = (
        np.stack([np.interp(places, even, line) for line in lines]) - places for lines in draws.lines.swapaxes(0, 1)
    )
    across, down = to_device(across, device)[:, None, :], to_device(down, device)[:, :, None]
    return torch.stack(torch.broadcast_tensors(across, down), -1).flatten(1, 2)


def _jitter_colour(images: torch.Tensor, spread: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    mean = images.mean((2, 3))[..., None]
    return torch.baddbmm((level - spread) @ mean, spread, images.flatten(2)).view_as(images).clamp_(0, 255)


def _blur(images: torch.Tensor, draws: SampledTransforms) -> torch.Tensor:
    """One depthwise convolution, each image with a kernel of its own."""
    taps = np.arange(-2, 3)
    line = np.exp(-0.5 * (taps / draws.sigma[:, None]) ** 2) * (abs(taps) <= draws.reach[:, None])
    line /= line.sum(1, keepdims=True)
    kernels = to_device(line[:, :, None] * line[:, None, :], images.device)
    n, channels, *_ = images.shape
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect").flatten(0, 1)[None]
    return F.conv2d(padded, kernels.repeat_interleave(channels, 0)[:, None], groups=n * channels).view_as(images)


def _add_noise(images: torch.Tensor, draws: SampledTransforms) -> torch.Tensor:
    row, length = _noise(images[0].numel(), images.device), images[0].numel()
    start = to_device((draws.start * (len(row) - length)).astype(int), images.device)
    grains = row.unfold(0, length, 1)[start].view_as(images)
    return torch.addcmul(images, to_device(draws.noise, images.device)[:, None, None, None], grains).clamp_(0, 255)


@lru_cache(maxsize=2)
def _noise(length: int, device: torch.device) -> torch.Tensor:
    """Numbers enough for at least 16 images, drawn once: a new normal number for every pixel would take longer than
    all the rest on a CPU, and be another one on each kind of device."""
    return torch.from_numpy(np.random.default_rng(1).standard_normal(max(2**22, 16 * length), np.float32)).to(device)


def _cut_holes(images: torch.Tensor, draws: SampledTransforms) -> torch.Tensor:
    places = torch.arange(images.shape[-1], device=images.device)
    top, left, bottom, right = (to_device(edge, images.device)[..., None] for edge in np.moveaxis(draws.holes, 2, 0))
    inside = ((places >= top) & (places < bottom))[..., :, None] & ((places >= left) & (places < right))[..., None, :]
    return images.masked_fill(inside.any(1)[:, None], 0)
