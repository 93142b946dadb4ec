"""Tensors as arguments of C++ functions: which ones they accept, their address and their shape."""

from __future__ import annotations

import ctypes

import torch

LAYOUT = torch.channels_last
ELEMENT_CODES = {torch.float32: 0, torch.bfloat16: 1}  # the codes in element.h


def can_fuse(x: torch.Tensor) -> bool:
    """Return whether our C++ takes this feature map: one in fp32 or bf16 on a CPU, as autocast has it there.

    A feature map in fp32 under autocast is left to torch, which casts it where it computes in bf16.
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
    return x.device.type == "cpu" and x.dtype == dtype and dtype in ELEMENT_CODES


def element_code(x: torch.Tensor) -> ctypes.c_int:
    """Return what element.h calls the type of a feature map's elements."""
    return ctypes.c_int(ELEMENT_CODES[x.dtype])


def pointer(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    """Return the address of a tensor's data; a null pointer for None."""
    return ctypes.c_void_p(tensor.data_ptr() if tensor is not None else None)


def rows_and_channels(x: torch.Tensor) -> tuple[ctypes.c_int64, ...]:
    """Return the number of pixels of all images, and of channels."""
    images, channels, height, width = x.shape
    return ctypes.c_int64(images * height * width), ctypes.c_int64(channels)


def images_pixels_channels(x: torch.Tensor) -> tuple[ctypes.c_int64, ...]:
    """Return the number of images, of pixels in each, and of channels."""
    images, channels, height, width = x.shape
    return ctypes.c_int64(images), ctypes.c_int64(height * width), ctypes.c_int64(channels)


def thread_count() -> ctypes.c_int:
    """Return torch's number of threads, which our C++ uses too."""
    return ctypes.c_int(torch.get_num_threads())
