"""Apply sampled transforms to whole batches, on the device that has them.

All geometry is one matrix and one look-up per pixel, and all colour is one matrix. `augment_sampling.py` samples the
transforms. The results cannot equal those of `augment_image.py`, though probabilities and ranges are the same:

* Above half the square's side, pixels are interpolated once; there they are interpolated again by the resize and by
  distortions.
* Distortions mirror the square at the border, not the warped image. The elastic displacement is cut from one large
  field and noise from one long row, which are both drawn once.
* Colour is not clipped or rounded between its steps, whose order is fixed. Hue rotates about the grey axis at equal
  mean, not in HSV at equal maximum: 7 grey levels apart at the ends of its range, on blood cells.
* Values are not rounded to whole numbers at the end, and translations and crops are not rounded to whole pixels.
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


def augment_batch(squares: torch.Tensor, transforms: SampledTransforms, size: int) -> torch.Tensor:
    """Turn uint8 (N, side, side, 3) into float (N, 3, size, size) from 0 to 255, without waiting for the device."""
    images, device = _warp(squares, transforms, size), squares.device
    if (transforms.colour_matrix != np.eye(3)).any():
        colour_matrix, mean_matrix = (to_device(m, device) for m in (transforms.colour_matrix, transforms.mean_matrix))
        images = _jitter_colour(images, colour_matrix, mean_matrix)
    for mask, change in (
        (transforms.blur_sigma > 0, _blur),
        (transforms.noise_std > 0, _add_noise),
        (transforms.holes.any((1, 2)), _cut_holes),
    ):
        rows = np.flatnonzero(mask)
        if len(rows):  # decided from host memory: reading it from the device would wait for the device
            indices = to_device(rows, device)
            images.index_copy_(0, indices, change(images[indices], transforms.select(rows)))
    return images


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to the device as whole numbers or float32.

    On CUDA the copy is non-blocking: a blocking one waits for all work in the device's queue. On MPS the source of a
    non-blocking copy may be freed before it is read.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return (tensor.float() if tensor.is_floating_point() else tensor).to(device, non_blocking=device.type == "cuda")


def _warp(squares: torch.Tensor, transforms: SampledTransforms, size: int) -> torch.Tensor:
    """Apply all geometry and resize to (N, 3, size, size).

    If the result has half the square's side or less, each of its pixels is the mean of 2 x 2 samples, from a square
    that was first reduced by area averaging to no less than twice the result. Without that, training images would be
    jagged and validation images would not.
    """
    images, side = squares.permute(0, 3, 1, 2).float(), squares.shape[1]
    supersampling = 2 if side >= 2 * size else 1
    if side >= 4 * size:
        side //= side // (2 * size)
        images = F.adaptive_avg_pool2d(images, side)
    # With align_corners the centres of the outermost pixels are at -1 and 1 and are mirrored there, as in OpenCV's
    # REFLECT_101.
    matrix = to_device(transforms.matrix * (side / (side - 1)), images.device)[:, None, None]
    line = _pixel_centres(supersampling * size, images.device)[:, None]
    points = matrix[..., 0] * line + (matrix[..., 1] * line[:, None] + matrix[..., 2])
    for distortion, displacement in ((ELASTIC, _elastic_displacement), (GRID, _grid_displacement)):
        rows = np.flatnonzero(transforms.distortion == distortion)
        if len(rows):
            indices = to_device(rows, images.device)
            offsets = displacement(transforms.select(rows), size, supersampling, images.device)
            points.flatten(1, 2).index_add_(0, indices, offsets @ matrix[indices, 0, 0, :, :2].mT)
    images = F.grid_sample(images, points, padding_mode="reflection", align_corners=True)
    return F.avg_pool2d(images, 2) if supersampling == 2 else images


def _pixel_centres(side: int, device: torch.device) -> torch.Tensor:
    """Return the coordinates of a line of pixels between the edges, which are -1 and 1."""
    return (torch.arange(side, device=device) + 0.5) * (2 / side) - 1


def _elastic_displacement(
    transforms: SampledTransforms, size: int, supersampling: int, device: torch.device
) -> torch.Tensor:
    """Return displacements (n, side * side, 2), each cut from the large field."""
    field, side = _elastic_field(size, supersampling, device), supersampling * size
    room = field.shape[1] - side
    top, left = (to_device((offset * room).astype(int), device) for offset in transforms.field_offset.T)
    return field.unfold(1, side, 1).unfold(2, side, 1)[:, top, left].flatten(2).permute(1, 2, 0)


@lru_cache(maxsize=2)
def _elastic_field(size: int, supersampling: int, device: torch.device) -> torch.Tensor:
    """Return a smooth field (2, 4 * side, 4 * side) that displaces pixels as far as albumentations does.

    It divides white noise by the largest of an image's values, blurs it and multiplies it by alpha, which makes 0.4
    pixels.
    """
    field_shape = (4 * supersampling * size, 4 * supersampling * size, 2)
    noise = np.random.default_rng(0).standard_normal(field_shape, np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), supersampling * ELASTIC_SIGMA)
    largest = NormalDist().inv_cdf(1 - 0.28 / (2 * size**2))  # expected largest of 2 * size**2 normal values
    pixels = ELASTIC_ALPHA / (2 * math.sqrt(math.pi) * ELASTIC_SIGMA) / largest
    return torch.from_numpy(smooth / smooth.std() * pixels * 2 / size).permute(2, 0, 1).contiguous().to(device)


def _grid_displacement(
    transforms: SampledTransforms, size: int, supersampling: int, device: torch.device
) -> torch.Tensor:
    """Return displacements (n, side * side, 2): cells between the lines of a regular grid are stretched or squeezed."""
    centres = _pixel_centres(supersampling * size, torch.device("cpu")).numpy()
    regular = np.linspace(-1, 1, transforms.grid_lines.shape[2])
    x, y = (
        np.stack([np.interp(centres, regular, line) for line in lines]) - centres
        for lines in transforms.grid_lines.swapaxes(0, 1)
    )
    x_offsets, y_offsets = to_device(x, device)[:, None, :], to_device(y, device)[:, :, None]
    return torch.stack(torch.broadcast_tensors(x_offsets, y_offsets), -1).flatten(1, 2)


def _jitter_colour(images: torch.Tensor, colour_matrix: torch.Tensor, mean_matrix: torch.Tensor) -> torch.Tensor:
    """Apply `mean_matrix` to the mean colour of each image and `colour_matrix` to each pixel's difference from it."""
    mean = images.mean((2, 3))[..., None]
    shift = (mean_matrix - colour_matrix) @ mean
    return torch.baddbmm(shift, colour_matrix, images.flatten(2)).view_as(images).clamp_(0, 255)


def _blur(images: torch.Tensor, transforms: SampledTransforms) -> torch.Tensor:
    """Blur each image with its own 5 x 5 Gaussian kernel, zero beyond its radius, in one depthwise convolution."""
    taps = np.arange(-2, 3)
    inside = abs(taps) <= transforms.blur_radius[:, None]
    line = np.exp(-0.5 * (taps / transforms.blur_sigma[:, None]) ** 2) * inside
    line /= line.sum(1, keepdims=True)
    kernels = to_device(line[:, :, None] * line[:, None, :], images.device)
    n, channels, *_ = images.shape
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect").flatten(0, 1)[None]
    return F.conv2d(padded, kernels.repeat_interleave(channels, 0)[:, None], groups=n * channels).view_as(images)


def _add_noise(images: torch.Tensor, transforms: SampledTransforms) -> torch.Tensor:
    """Add normal noise to each image, cut from one long row."""
    row, length = _noise_row(images[0].numel(), images.device), images[0].numel()
    start = to_device((transforms.noise_offset * (len(row) - length)).astype(int), images.device)
    noise = row.unfold(0, length, 1)[start].view_as(images)
    std = to_device(transforms.noise_std, images.device)[:, None, None, None]
    return torch.addcmul(images, std, noise).clamp_(0, 255)


@lru_cache(maxsize=2)
def _noise_row(length: int, device: torch.device) -> torch.Tensor:
    """Return normal random numbers for at least 16 images of `length` values.

    They are drawn once: a new number for every pixel would take longer than all other transforms on a CPU, and would
    differ between kinds of device.
    """
    return torch.from_numpy(np.random.default_rng(1).standard_normal(max(2**22, 16 * length), np.float32)).to(device)


def _cut_holes(images: torch.Tensor, transforms: SampledTransforms) -> torch.Tensor:
    """Set the pixels inside the holes to 0."""
    pixels = torch.arange(images.shape[-1], device=images.device)
    edges = np.moveaxis(transforms.holes, 2, 0)
    top, left, bottom, right = (to_device(edge, images.device)[..., None] for edge in edges)
    in_rows, in_columns = (pixels >= top) & (pixels < bottom), (pixels >= left) & (pixels < right)
    inside = in_rows[..., :, None] & in_columns[..., None, :]
    return images.masked_fill(inside.any(1)[:, None], 0)
