"""`train.precision: auto` chooses by the processor, and by the work of one thread, not by the load of the machine."""

from __future__ import annotations

import time
from types import MappingProxyType

import pytest
import torch
from torch import nn

from comp.engine import precision
from comp.engine.precision import choose_inference_precision, choose_precision

CPU = torch.device("cpu")


class Work(nn.Module):
    """A model whose steps burn this thread's CPU time, `bf16` of what fp32 takes, while wall time says the opposite."""

    def __init__(self, bf16: float):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.share = {torch.float32: 1.0, torch.bfloat16: bf16}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert torch.get_num_threads() == 1
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        end = time.thread_time() + 0.01 * self.share[dtype]
        while time.thread_time() < end:
            pass
        time.sleep(0.01 * (1 - self.share[dtype]) + 0.005 * (dtype == torch.bfloat16))  # as when others compute
        return images.mean() * self.weight


@pytest.fixture
def processor_with_bf16(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType({"avx2": True, "avx512_bf16": True}))


@pytest.mark.parametrize(("bf16", "chosen"), [(0.4, "bf16"), (0.97, "fp32")])
def test_choose_precision_auto_compares_cpu_time_of_one_thread(processor_with_bf16, bf16, chosen):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert choose_precision("auto", Work(bf16), CPU, 8, 2) == chosen
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("capabilities", [{"avx2": True, "avx512_bf16": False, "amx_bf16": False}, {"neon": True}])
def test_choose_precision_auto_without_instructions_for_bf16_is_fp32_untimed(monkeypatch, capabilities):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(capabilities))
    monkeypatch.setattr(precision, "_time_steps", lambda *_: pytest.fail("nothing needs to be timed"))
    assert choose_precision("auto", Work(0.1), CPU, 8, 2) == "fp32"


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_cpu_computes_bf16_knows_the_names_of_x86_and_arm(monkeypatch, name):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType({"sse": True, name: True}))
    assert precision.cpu_computes_bf16()


def test_choose_precision_a_given_one_is_kept():
    assert choose_precision("bf16", Work(9.0), CPU, 8, 2) == "bf16"


@pytest.mark.parametrize(
    ("device", "has_bf16", "trained", "predicts"),
    [
        ("cuda", True, "bf16", "bf16"),
        ("cuda", False, "bf16", "fp32"),  # a run of an A100 on a T4
        ("cuda", False, "fp16", "fp16"),
        ("cpu", True, "bf16", "bf16"),
        ("cpu", False, "bf16", "fp32"),
        ("cpu", True, "fp16", "fp32"),
        ("mps", True, "bf16", "fp32"),
        ("mps", True, "fp32", "fp32"),
    ],
)
def test_choose_inference_precision_is_one_that_the_device_has(monkeypatch, device, has_bf16, trained, predicts):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16 or including_emulation)
    monkeypatch.setattr(precision, "cpu_computes_bf16", lambda: has_bf16)
    assert choose_inference_precision(trained, torch.device(device)) == predicts
