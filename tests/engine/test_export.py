"""Other runtimes have the same logits as torch; the parity check refuses a graph with other logits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from comp.engine import runtime
from comp.engine.export import TOLERANCES, Parity, build_network, check_parity, export_graph
from comp.engine.predict import NormalisedModel, normalise, predict_models, predict_probabilities
from comp.engine.runtime import RUNTIME_LOADERS, freeze_network, make_torch_network
from comp.engine.views import TTA
from comp.errors import UserError
from comp.records.weights import ModelSpec
from comp.zoo.build import build_model
from tests.conftest import REPO_ROOT

CPU = torch.device("cpu")
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
NETWORKS = {"test_efficientnet": 24, "sharif_deep_efficientnet": 32, "gupta_sa_cnn": 32, "karakus_skip_cnn": 32}
RUNTIMES = ("onnx", "openvino")


def make_images(size: int, count: int = 35) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def make_trained_model(name: str, size: int) -> nn.Module:
    """A model whose BatchNorm statistics fit the images: a new one has nearly the same logits for all of them."""
    torch.manual_seed(0)
    model = build_model(name, 8, size=size).train()
    with torch.no_grad():
        for _ in range(20):
            model(normalise(make_images(size, 16), MEAN, STD, CPU))
    return model.eval()


def make_spec(name: str, size: int) -> ModelSpec:
    return ModelSpec(name, {}, tuple("abcdefgh"), MEAN, STD, size, "squash", None, "fp32")


def normalised(model: nn.Module) -> nn.Module:
    return NormalisedModel(model, MEAN, STD).eval()


@pytest.fixture(scope="module")
def get_network():
    """Return `get(name, runtime)` -> (model, its network in the runtime), each made once."""
    models, networks = {}, {}

    def get(name: str, runtime: str):
        if name not in models:
            models[name] = make_trained_model(name, NETWORKS[name])
        if (name, runtime) not in networks:
            networks[name, runtime] = build_network(runtime, models[name], make_spec(name, NETWORKS[name]))
        return models[name], networks[name, runtime]

    return get


@pytest.mark.parametrize("runtime", ["torch", *RUNTIMES])
@pytest.mark.parametrize("name", NETWORKS)
def test_check_parity_passes_for_any_batch_size(name, runtime, get_network):
    model, network = get_network(name, runtime)
    images = make_images(NETWORKS[name])  # 1, 32 and 2 at a time
    parity = check_parity(normalised(model), network, images, tolerance=TOLERANCES["onnx"])
    assert parity.passed and parity.images == parity.same_class_count == 35
    assert parity.max_difference < parity.tolerance / 4 * parity.max_logit  # bf16 would be above the tolerance


@pytest.mark.parametrize("runtime", ["torch", *RUNTIMES])
def test_predict_probabilities_views_are_equal_in_every_runtime(runtime, get_network):
    model, network = get_network("test_efficientnet", runtime)
    batches = list(make_images(24, 11).split(4))
    eager = predict_models([model], batches, views=TTA["d4"], mean=MEAN, std=STD, device=CPU, precision="fp32")
    other = predict_probabilities([network], batches, views=TTA["d4"], device=CPU)
    assert other.shape == (1, 8, 11, 8) and other.dtype == np.float32
    assert np.abs(eager - other).max() < 1e-6 and (eager.argmax(-1) == other.argmax(-1)).all()
    assert np.abs(eager[:, :1] - eager[:, 1:]).max() > 1e-4  # the views differ


@pytest.mark.parametrize("name", NETWORKS)
def test_freeze_network_repeated_calls_are_bit_identical(name, get_network):
    frozen = get_network(name, "torch")[1]
    assert isinstance(frozen, torch.jit.ScriptModule)
    with torch.no_grad():
        for count in (1, 5, 32):
            images = make_images(NETWORKS[name], count)
            first = frozen(images)
            assert all(torch.equal(first, frozen(images)) for _ in range(3))


class NegatesUnlessTwo(nn.Module):
    """Traced with two images, it is wrong for any other number of them."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = images.flatten(1)[:, :8]
        return logits if len(images) == 2 else -logits


class TakesTwo(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.reshape(2, -1)[:, :8] if len(images) == 2 else images.flatten(1)[:, :8]


class WithoutOnnx(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(images[:, 0]).real[:, :8]


@pytest.mark.parametrize("model", [NegatesUnlessTwo(), TakesTwo()])
def test_freeze_network_batch_dependent_model_is_returned_unchanged(model):
    network = normalised(model)
    assert freeze_network(network, 8, 1e-4) is network


@pytest.mark.parametrize(("device", "precision"), [("cuda", "fp32"), ("cuda", "bf16"), ("mps", "fp32")])
def test_make_torch_network_on_a_gpu_is_not_frozen(device, precision):
    spec = replace(make_spec("any", 8), precision=precision)
    assert isinstance(make_torch_network(nn.Identity(), spec, torch.device(device)), NormalisedModel)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_make_torch_network_on_a_cpu_without_the_precision_of_the_training_computes_in_fp32(monkeypatch, precision):
    monkeypatch.setattr("comp.engine.precision.cpu_computes_bf16", lambda: False)
    model, spec = make_trained_model("test_efficientnet", 24), make_spec("test_efficientnet", 24)
    images = make_images(24)
    in_fp32, in_fewer_bits = (
        make_torch_network(model, s, CPU)(images) for s in (spec, replace(spec, precision=precision))
    )
    assert torch.equal(in_fp32, in_fewer_bits)


def test_make_torch_network_in_bf16_is_frozen_and_agrees_with_the_plain_model(monkeypatch):
    monkeypatch.setattr("comp.engine.precision.cpu_computes_bf16", lambda: True)
    model, spec = make_trained_model("sharif_deep_efficientnet", 32), make_spec("sharif_deep_efficientnet", 32)
    frozen = make_torch_network(model, replace(spec, precision="bf16"), CPU)
    assert isinstance(frozen, torch.jit.ScriptModule)
    parity = check_parity(NormalisedModel(model, MEAN, STD, "bf16").eval(), frozen, make_images(32), 1e-2)
    assert parity.passed and frozen(make_images(32)).dtype == torch.bfloat16
    assert not any(node.kind() == "aten::batch_norm" for node in frozen.graph.nodes())


def test_load_bf16_network_without_instructions_for_it_is_an_error(monkeypatch):
    monkeypatch.setattr(runtime, "cpu_computes_bf16", lambda: False)
    graph = export_graph(
        "openvino-bf16", make_trained_model("test_efficientnet", 24), make_spec("test_efficientnet", 24)
    )
    with pytest.raises(UserError, match="no instructions for bf16; use openvino"):
        RUNTIME_LOADERS["openvino-bf16"](*graph)


def test_load_bf16_network_asks_openvino_for_bf16(monkeypatch, get_network):
    """OpenVINO computes in fp32 where the processor has no bf16, so only its setting is compared everywhere.

    Where it has, random weights decide a class by less than bf16 rounds, so that classes are not compared.
    """
    monkeypatch.setattr(runtime, "cpu_computes_bf16", lambda: True)
    settings, core = [], runtime._openvino_core()

    class RecordingCore:
        read_model = core.read_model

        def compile_model(self, graph, device, config):
            settings.append(config["INFERENCE_PRECISION_HINT"])
            return core.compile_model(graph, device, config)

    monkeypatch.setattr(runtime, "_openvino_core", RecordingCore)
    model, _ = get_network("test_efficientnet", "openvino")
    graph = export_graph("openvino", model, make_spec("test_efficientnet", 24))
    for name, tolerance in (("openvino", 1e-4), ("openvino-bf16", 2e-2)):
        parity = check_parity(normalised(model), RUNTIME_LOADERS[name](*graph), make_images(24), tolerance)
        assert parity.max_difference <= tolerance * parity.max_logit
    assert settings == ["f32", "bf16"]


@pytest.mark.parametrize("offset", [-0.5, 0.5])
def test_check_parity_logits_that_are_all_too_low_or_too_high_do_not_pass(offset):
    def network(images: torch.Tensor) -> torch.Tensor:
        return images.float().mean(dim=(1, 2)) - 200.0  # negative: the largest is one of size

    parity = check_parity(network, lambda images: network(images) + offset, make_images(8), 1e-4)
    assert not parity.passed and parity.same_class_count == 35
    assert parity.max_difference == pytest.approx(0.5, abs=1e-4)
    assert parity.max_logit == network(make_images(8)).abs().max() > 50
    assert check_parity(network, network, make_images(8), 1e-4).passed


def test_parity_other_value_class_or_nan_does_not_pass():
    parity = Parity(64, 1e-5, 10.0, 64, 1e-4)
    assert parity.passed
    assert not Parity(64, 2e-3, 10.0, 64, 1e-4).passed and not Parity(64, 1e-5, 10.0, 63, 1e-4).passed
    assert not Parity(64, float("nan"), float("nan"), 64, 1e-4).passed


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_build_network_model_without_onnx_operator_is_refused(runtime):
    with pytest.raises(UserError, match="model odd cannot be exported to ONNX"):
        build_network(runtime, WithoutOnnx(), make_spec("odd", 8))


def test_onnx_file_needs_only_numpy_and_onnx_runtime():
    """The file maps uint8 images to logits, and contains the classes in order."""
    import onnxruntime

    model = make_trained_model("sharif_deep_efficientnet", 32)
    [graph] = export_graph("onnx", model, make_spec("sharif_deep_efficientnet", 32))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {"images": make_images(32, 3).numpy()})
    with torch.no_grad():
        assert np.allclose(logits, model(normalise(make_images(32, 3), MEAN, STD, CPU)), rtol=1e-4, atol=1e-6)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list("abcdefgh")


def test_load_openvino_network_deleted_networks_leave_signal_handling_intact():
    """Two OpenVINO Cores, destroyed in the order of their creation, ended the process at the next child's end."""
    code = """if True:
        import signal, subprocess, sys
        from comp.engine.runtime import load_openvino_network
        from tests.engine.test_export import export_graph, make_spec, make_trained_model
        signal.signal(signal.SIGCHLD, lambda *_: None)
        model = make_trained_model("test_efficientnet", 24)
        graph = export_graph("openvino", model, make_spec("test_efficientnet", 24))
        first, second = load_openvino_network(*graph), load_openvino_network(*graph)
        del first
        del second
        subprocess.run([sys.executable, "-c", ""])
        print("alive")
    """
    process = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code], cwd=REPO_ROOT, capture_output=True, text=True
    )
    assert process.stdout.strip() == "alive", process.stderr


def test_load_onnx_network_disables_telemetry_before_the_import():
    code = """if True:
        import os, sys
        from comp.engine.runtime import load_onnx_network

        class Loaded(BaseException):
            pass

        class Finder:
            def find_spec(self, name, *_):
                if name == "onnxruntime":
                    raise Loaded(os.environ.get("ORT_DISABLE_TELEMETRY"))

        sys.meta_path.insert(0, Finder())
        try:
            load_onnx_network(b"")
        except Loaded as setting:
            print(setting)
    """
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO_ROOT, capture_output=True, text=True, env=environment
    )
    assert process.stdout == "1\n", process.stderr
