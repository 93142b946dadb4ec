"""A training step as one CUDA graph: the GPU repeats recorded kernels, which the CPU need not launch one by one.

A step of DeepEfficientNet at 224 px in bf16 is 788 launches of torch's kernels and 202 calls of cuDNN and cuBLAS, all
but 19 of the launches in forward pass, backward pass, clipping and optimiser. The graph holds these for one batch. It
reads images, targets and learning rate from tensors that keep their addresses. The batch is made, and the moving
average updated, outside of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from comp.engine import distributed
from comp.errors import UserError

WARM_UP_STEPS = 3  # eager steps before the capture: they choose algorithms and create the optimiser's state

StepFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (images, targets) -> the sum of the losses


def use_cuda_graph(requested: str, device: torch.device, accumulate: int, optimizer: torch.optim.Optimizer) -> bool:
    """Return whether steps are replayed as a graph: never for `off`, where possible for `auto`.

    `on` is a UserError where it is impossible.
    """
    if requested == "off":
        return False
    obstacle = None
    if device.type != "cuda":
        obstacle = f"the device is {device}"
    elif distributed.world_size() > 1:
        obstacle = "torchrun started several processes"
    elif accumulate > 1:
        obstacle = f"train.accumulate is {accumulate}"
    elif not optimizer.defaults.get("fused"):
        obstacle = f"{type(optimizer).__name__} is not fused; only optimisers such as adamw and sgd can be captured"
    if obstacle and requested == "on":
        raise UserError(f"train.cuda_graph=on is impossible here: {obstacle}; use auto or off")
    return obstacle is None


class Graph(Protocol):
    """A recording of a function of the GPU."""

    def warm_up(self, function: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Run the function eagerly, on the stream that will be captured."""
        ...

    def capture(self, function: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Record the function without computing, and return the tensor that `replay` will write its result to."""
        ...

    def replay(self) -> None:
        """Compute what was recorded."""
        ...


class CudaGraph:
    """torch's CUDA graph. Warming up and capturing share a side stream: the default stream cannot be captured."""

    def __init__(self) -> None:
        self.graph, self.stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()

    def warm_up(self, function: Callable[[], torch.Tensor]) -> torch.Tensor:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = function()
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def capture(self, function: Callable[[], torch.Tensor]) -> torch.Tensor:
        # thread_local: the thread that pins batches may call CUDA meanwhile
        with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            return function()

    def replay(self) -> None:
        self.graph.replay()


class StepGraph:
    """A callable like `step`, which it replays from a graph after `WARM_UP_STEPS` batches of one shape in a row.

    Batches of another shape, such as the last of an epoch, are computed eagerly. If the shape changes for good, as the
    targets do when mixup ends, the step is captured again. A capture computes nothing, so every batch trains once.
    """

    def __init__(
        self, step: StepFunction, optimizer: torch.optim.Optimizer, make_graph: Callable[[], Graph] = CudaGraph
    ):
        self.step, self.make_graph = step, make_graph
        self.shape: object = None  # of the last batches
        self.in_a_row = 0  # batches of that shape
        self.captured_shape: object = None
        make_capturable(optimizer)

    def __call__(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        shape = (images.shape, images.stride(), targets.shape, targets.dtype)
        if shape == self.captured_shape:
            return self._replay(images, targets)
        if shape != self.shape:
            self.shape, self.in_a_row, self.graph = shape, 0, self.make_graph()
        self.in_a_row += 1
        if self.in_a_row <= WARM_UP_STEPS:
            return self.graph.warm_up(lambda: self.step(images, targets))
        self._capture(images, targets)
        return self._replay(images, targets)

    def _capture(self, images: torch.Tensor, targets: torch.Tensor) -> None:
        self.images, self.targets = images.clone(), targets.to(images.device).clone()
        self.captured, self.captured_shape = self.graph, self.shape
        self.loss_sum = self.captured.capture(lambda: self.step(self.images, self.targets))

    def _replay(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.shape = self.captured_shape
        self.images.copy_(images, non_blocking=True)
        self.targets.copy_(targets, non_blocking=True)
        self.captured.replay()
        return self.loss_sum.clone()  # the next replay writes to the same tensor


def make_capturable(optimizer: torch.optim.Optimizer) -> None:
    """Move the learning rates of an optimiser into tensors on its device, and allow its step to be captured."""
    for group in optimizer.param_groups:
        group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=group["params"][0].device)
        if "capturable" in group:
            group["capturable"] = True


def portable_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state of an optimiser as if its step were never captured: any device can resume it."""
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group["lr"] = float(group["lr"])
        if "capturable" in group:
            group["capturable"] = False
    return state
