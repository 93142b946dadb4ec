"""A GPU that cannot be used is one error with a way out, before anything is written; a bundle then predicts on the CPU.

The GPU is pretended: torch's functions are replaced by those of a machine that has one.
"""

from __future__ import annotations

import warnings

import pytest
import torch

from comp.engine import device as device_module
from comp.engine.device import DeviceError, choose_device, choose_device_or_cpu
from comp.errors import UserError

NO_KERNEL = "CUDA error: no kernel image is available for execution on the device\nSearch for ..."
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 12040). Please update your GPU driver by ..."


class Tensor:
    """A tensor of a pretended GPU: there is memory for it, and a kernel may fail."""

    def __init__(self, error: str | None):
        self.error = error

    def __add__(self, _):
        if self.error:
            raise RuntimeError(self.error)
        return self

    def sum(self):
        return self

    def item(self):
        return 2.0


@pytest.fixture
def pretend_gpu(monkeypatch):
    """Return `pretend_gpu(capability, error)`: a GPU whose kernels fail with this error."""

    def pretend(capability: tuple[int, int] = (7, 5), error: str | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla")
        monkeypatch.setattr(device_module.torch, "zeros", lambda *_, **__: Tensor(error))

    return pretend


@pytest.fixture
def pretend_no_cuda(monkeypatch, tmp_path):
    """Return `pretend_no_cuda(error, has_gpu)`: torch reports no GPU, for this reason."""

    def pretend(error: str, has_gpu: bool) -> None:
        def fail():
            raise RuntimeError(error)

        unseen = [f"CUDA initialization: {error}"]

        def warn_once() -> bool:
            if unseen:
                warnings.warn(unseen.pop(), stacklevel=1)
            return False

        monkeypatch.setattr(torch.cuda, "is_available", warn_once)
        monkeypatch.setattr(torch.cuda, "init", fail)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setattr(device_module, "GPU_FILE", tmp_path if has_gpu else tmp_path / "missing")

    return pretend


@pytest.mark.parametrize(("capability", "build"), [((6, 0), "CUDA 12.6 (cu126)"), ((12, 0), "a newer CUDA")])
def test_choose_device_gpu_without_kernels_names_the_build_to_install(pretend_gpu, capability, build):
    pretend_gpu(capability, NO_KERNEL)
    for name in ("auto", "cuda"):
        with pytest.raises(DeviceError, match=r"no kernels for Tesla .*--device cpu$") as error:
            choose_device(name)
        assert build in str(error.value)


def test_choose_device_full_gpu_is_not_called_absent(pretend_gpu):
    pretend_gpu(error="CUDA error: out of memory")
    with pytest.raises(DeviceError, match=r"memory of cuda is full; .*nvidia-smi"):
        choose_device("cuda")


def test_choose_device_working_gpu_is_chosen(pretend_gpu):
    pretend_gpu()
    assert choose_device("auto") == torch.device("cuda")


def test_choose_device_index_beyond_the_gpus_is_not_available(pretend_gpu):
    pretend_gpu(error="CUDA error: invalid device ordinal")
    with pytest.raises(UserError, match="--device cuda:7 is not available"):
        choose_device("cuda:7")


@pytest.mark.parametrize("name", ["auto", "cuda"])
@pytest.mark.filterwarnings("error")
def test_choose_device_old_driver_is_an_error(pretend_no_cuda, name):
    pretend_no_cuda(OLD_DRIVER, has_gpu=False)
    with pytest.raises(DeviceError, match=r"driver on your system is too old \(found version 12040\).*--device cpu"):
        choose_device(name)


def test_choose_device_auto_with_torch_for_the_cpu_beside_a_gpu_is_an_error_unless_hidden(pretend_no_cuda, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    pretend_no_cuda("Torch not compiled with CUDA enabled", has_gpu=True)
    with pytest.raises(DeviceError, match="not compiled with CUDA"):
        choose_device("auto")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_device("auto") == torch.device("cpu")


def test_choose_device_auto_without_a_gpu_is_the_cpu(pretend_no_cuda):
    pretend_no_cuda("Found no NVIDIA driver on your system", has_gpu=False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="--device cuda is not available"):
        choose_device("cuda")


def test_choose_device_or_cpu_prints_why_the_gpu_is_not_used(pretend_gpu, capsys):
    pretend_gpu((6, 0), NO_KERNEL)
    assert choose_device_or_cpu() == torch.device("cpu")
    warning = capsys.readouterr().err
    assert warning.startswith("warning: torch") and warning.endswith("; predicting on the CPU\n")
    assert warning.count("\n") == 1
