"""Another runtime says what torch says, or its files are never written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from comp.engine.export import TOLERANCE, Parity, build_network, check_parity, export_graph
from comp.engine.predict import NormalisedModel, normalise, predict_models, predict_probabilities
from comp.engine.runtime import RUNTIME_LOADERS, freeze_network, make_torch_network
from comp.engine.views import TTA
from comp.errors import UserError
from comp.files import read_json
from comp.prediction import export as files
from comp.records.weights import ModelSpec
from comp.runs import FoldDir
from comp.zoo.build import build_model
from tests.conftest import REPO_ROOT, SMALL

CPU = torch.device("cpu")
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
NETWORKS = {"test_efficientnet": 24, "sharif_deep_efficientnet": 32, "gupta_sa_cnn": 32, "karakus_skip_cnn": 32}
RUNTIMES = ("onnx", "openvino")


def pictures(size: int, count: int = 35) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def seasoned(name: str, size: int) -> nn.Module:
    """Its BatchNorm statistics have seen pictures: an untouched network says nearly the same of every one."""
    torch.manual_seed(0)
    model = build_model(name, 8, size=size).train()
    with torch.no_grad():
        for _ in range(20):
            model(normalise(pictures(size, 16), MEAN, STD, CPU))
    return model.eval()


def model_spec(name: str, size: int) -> ModelSpec:
    return ModelSpec(name, {}, tuple("abcdefgh"), MEAN, STD, size, "squash", None, "fp32")


def pixels_to(model: nn.Module) -> nn.Module:
    return NormalisedModel(model, MEAN, STD).eval()


@pytest.fixture(scope="module")
def made():
    """(model, the network of a runtime), each made once."""
    models, networks = {}, {}

    def get(name: str, runtime: str):
        if name not in models:
            models[name] = seasoned(name, NETWORKS[name])
        if (name, runtime) not in networks:
            networks[name, runtime] = build_network(runtime, models[name], model_spec(name, NETWORKS[name]))
        return models[name], networks[name, runtime]

    return get


@pytest.mark.parametrize("runtime", ["torch", *RUNTIMES])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_runtime_agrees_whatever_the_batch_size(name, runtime, made):
    model, network = made(name, runtime)
    parity = check_parity(pixels_to(model), network, pictures(NETWORKS[name]))  # 1, 32 and 2 at a time
    assert parity.passed and parity.images == parity.same_class_count == 35
    assert parity.max_difference < TOLERANCE / 4 * parity.max_logit  # bf16 would be above TOLERANCE


@pytest.mark.parametrize("runtime", ["torch", *RUNTIMES])
def test_every_view_is_the_same_in_every_runtime(runtime, made):
    model, network = made("test_efficientnet", runtime)
    batches = list(pictures(24, 11).split(4))
    eager = predict_models([model], batches, views=TTA["d4"], mean=MEAN, std=STD, device=CPU, precision="fp32")
    other = predict_probabilities([network], batches, views=TTA["d4"], device=CPU)
    assert other.shape == (1, 8, 11, 8) and other.dtype == np.float32
    assert np.abs(eager - other).max() < 1e-6 and (eager.argmax(-1) == other.argmax(-1)).all()
    assert np.abs(eager[:, :1] - eager[:, 1:]).max() > 1e-4  # the views are not all alike


@pytest.mark.parametrize("name", NETWORKS)
def test_a_frozen_graph_gives_the_same_bits_each_time(name, made):
    frozen = made(name, "torch")[1]
    assert isinstance(frozen, torch.jit.ScriptModule)
    with torch.no_grad():
        for count in (1, 5, 32):
            images = pictures(NETWORKS[name], count)
            first = frozen(images)
            assert all(torch.equal(first, frozen(images)) for _ in range(3))


class TurnsRound(nn.Module):
    """What tracing two images makes of it is wrong for any other number."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = images.flatten(1)[:, :8]
        return logits if len(images) == 2 else -logits


class TakesTwo(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.reshape(2, -1)[:, :8] if len(images) == 2 else images.flatten(1)[:, :8]


class Unknown(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(images[:, 0]).real[:, :8]


@pytest.mark.parametrize("model", [TurnsRound(), TakesTwo()])
def test_a_network_that_cannot_be_frozen_is_left_as_it_is(model):
    network = pixels_to(model)
    assert freeze_network(network, 8) is network


def test_neither_a_gpu_nor_16_bits_are_frozen():
    assert isinstance(make_torch_network(nn.Identity(), model_spec("any", 8), torch.device("cuda")), NormalisedModel)
    assert isinstance(
        make_torch_network(nn.Identity(), replace(model_spec("any", 8), precision="bf16"), CPU), NormalisedModel
    )


def test_disagreement_is_noticed_in_a_value_a_class_and_a_nan():
    parity = Parity(64, 1e-5, 10.0, 64)
    assert parity.passed
    assert not Parity(64, 2e-3, 10.0, 64).passed and not Parity(64, 1e-5, 10.0, 63).passed
    assert not Parity(64, float("nan"), float("nan"), 64).passed


@pytest.fixture
def place(tmp_path):
    """A fold's directory with some weights."""
    fold = FoldDir(tmp_path / "fold0")
    fold.path.mkdir()
    fold.weights_path.write_bytes(b"weights")
    return fold


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", [TurnsRound(), TakesTwo()])
def test_a_graph_that_fixed_its_batch_is_refused_in_one_line(model, runtime, place):
    with pytest.raises(UserError, match=r"use --runtime torch"):
        files.export_fold(place, runtime, model, model_spec("odd", 8), pictures(8, 34))
    assert [path.name for path in place.path.iterdir()] == ["weights.pt"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_that_has_no_graph_is_refused_in_one_line(runtime):
    with pytest.raises(UserError, match="model odd cannot be exported to ONNX"):
        build_network(runtime, Unknown(), model_spec("odd", 8))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_wrong_weight_is_refused_and_nothing_is_written(runtime, place, monkeypatch):
    model = seasoned("karakus_skip_cnn", 32)
    wrong = seasoned("karakus_skip_cnn", 32)
    with torch.no_grad():
        next(wrong.parameters())[0, 0, 0, 0] += 0.1
    monkeypatch.setattr(files, "export_graph", lambda _, __, about: export_graph(runtime, wrong, about))
    with pytest.raises(UserError, match=r"disagree: logits differ by at most .* is allowed, so nothing was written"):
        files.export_fold(place, runtime, model, model_spec("karakus_skip_cnn", 32), pictures(32))
    assert [path.name for path in place.path.iterdir()] == ["weights.pt"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_stale_files_are_noticed(runtime, place):
    model = seasoned("test_efficientnet", 24)

    def export():
        files.export_fold(place, runtime, model, model_spec("test_efficientnet", 24), pictures(24))
        assert files.stale_reason(place, runtime) == ""

    assert files.stale_reason(place, runtime) == "not exported yet"
    export()
    about = read_json(place.path / f"model.{runtime}.json")
    assert (about["size"], about["classes"], about["parity"]["agreeing"]) == (24, list("abcdefgh"), 35)
    network = RUNTIME_LOADERS[runtime](*((place.path / name).read_bytes() for name in files.RUNTIME_FILES[runtime]))
    assert network(pictures(24, 3)).shape == (3, 8)
    place.weights_path.write_bytes(b"others")
    assert files.stale_reason(place, runtime) == "exported from other weights"
    export()
    for name in files.RUNTIME_FILES[runtime]:
        file = place.path / name
        file.write_bytes(file.read_bytes()[:-1])
        assert files.stale_reason(place, runtime) == "not as it was written"
        file.unlink()
        assert files.stale_reason(place, runtime) == "not as it was written"
        export()


def test_an_onnx_file_needs_nothing_beside_it():
    """Only numpy and ONNX Runtime: bytes in, logits out, and the classes in order."""
    import onnxruntime

    model = seasoned("sharif_deep_efficientnet", 32)
    [graph] = export_graph("onnx", model, model_spec("sharif_deep_efficientnet", 32))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {"images": pictures(32, 3).numpy()})
    with torch.no_grad():
        assert np.allclose(logits, model(normalise(pictures(32, 3), MEAN, STD, CPU)), rtol=1e-4, atol=1e-6)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list("abcdefgh")


def test_infer_gives_the_same_labels_in_every_runtime(workspace, run_cli, monkeypatch):
    run_cli("comp", "folds", *SMALL)
    run_cli("train.py", "--name", "x", *SMALL)
    assert run_cli("infer.py", "x", "--tta", "flips")[0] == 0
    labels = pd.read_csv("submissions/x+flips.csv")
    predictions = Path("runs/x/predictions")
    torch_files = {file: file.stat().st_mtime_ns for file in predictions.rglob("*.csv")}
    assert run_cli("comp", "export", "x", "--to", "onnx")[1].count("argmax agrees on 48 of 48 images") == 3

    for runtime, made_before in (("onnx", True), ("openvino", False)):
        status, out, err = run_cli("infer.py", "x", "--tta", "flips", "--runtime", runtime)
        assert (status, err) == (0, "") and f"runtime: {runtime}" in out
        assert out.count("not exported yet, so it is exported now") == (0 if made_before else 3)
        assert pd.read_csv("submissions/x+flips.csv").equals(labels)
        assert read_json(Path("submissions/x+flips.json"))["members"][0]["runtime"] == runtime
        for view in TTA["flips"]:
            for part in ("oof.csv", "test.csv"):
                ours, theirs = (
                    pd.read_csv(base / view / part).set_index("image").select_dtypes("number")
                    for base in (predictions, predictions / runtime)
                )
                assert np.abs(ours - theirs.loc[ours.index]).max(axis=None) < 1e-6
            assert read_json(predictions / runtime / view / "oof.from.json")["runtime"] == runtime
    assert torch_files == {file: file.stat().st_mtime_ns for file in torch_files}  # torch's own were left alone
    run_cli("infer.py", "x", "--tta", "flips")
    assert torch_files == {file: file.stat().st_mtime_ns for file in torch_files}  # and serve again

    def fails(expected: str, *words: str) -> None:
        status, _, err = run_cli(*words)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and expected in err, err

    fails("--to", "comp", "export", "x")
    fails("has no finished fold full", "comp", "export", "x", "--to", "onnx", "--fold", "full")
    fails("there is no run y", "comp", "export", "y", "--to", "onnx")
    fails("computes on the CPU", "infer.py", "x", "--runtime", "onnx", "--device", "cuda")
    for package, word in (("onnxruntime", "onnx"), ("onnx", "onnx"), ("openvino", "openvino")):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, package, None)
            fails("pip install -e '.[export]'", "comp", "export", "x", "--to", word)


def test_networks_may_come_and_go_and_the_process_still_takes_signals():
    """Two cores of OpenVINO, let go of in the order they came, ended the process at the next child's end."""
    code = """if True:
        import signal, subprocess, sys
        from comp.engine.runtime import load_openvino_network
        from tests.test_export import export_graph, model_spec, seasoned
        signal.signal(signal.SIGCHLD, lambda *_: None)
        graph = export_graph("openvino", seasoned("test_efficientnet", 24), model_spec("test_efficientnet", 24))
        first, second = load_openvino_network(*graph), load_openvino_network(*graph)
        del first
        del second
        subprocess.run([sys.executable, "-c", ""])
        print("alive")
    """
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code], cwd=REPO_ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "alive", done.stderr


def test_onnx_runtime_is_told_not_to_call_home_before_it_is_loaded():
    code = """if True:
        import os, sys
        from comp.engine.runtime import load_onnx_network

        class Loaded(BaseException):
            pass

        class Watch:
            def find_spec(self, name, *_):
                if name == "onnxruntime":
                    raise Loaded(os.environ.get("ORT_DISABLE_TELEMETRY"))

        sys.meta_path.insert(0, Watch())
        try:
            load_onnx_network(b"")
        except Loaded as what:
            print(what)
    """
    without = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO_ROOT, capture_output=True, text=True, env=without)
    assert done.stdout == "1\n", done.stderr
