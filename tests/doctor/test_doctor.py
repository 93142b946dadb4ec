"""python -m comp doctor: a line for each problem of this machine, and the exit status."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch

from comp import config
from comp.doctor import accelerator, machine, packages, project
from comp.doctor.report import Report
from comp.errors import UserError
from tests.conftest import SMALL


@pytest.fixture
def report() -> Report:
    return Report()


@pytest.fixture
def demo_config(workspace):
    return config.load("configs/demo.yaml", SMALL)[0]


def test_doctor_data_without_split_is_an_error_with_its_remedy(workspace, run_cli):
    status, out, _ = run_cli("comp", "doctor", "--device", "cpu", *SMALL)
    [problem] = [line for line in out.splitlines() if line.startswith("error: ")]
    assert status == 1
    assert "folds/tiny.csv is missing; make it with `python -m comp folds`" in problem


def test_doctor_machine_that_can_train_exits_zero(workspace, run_cli):
    assert run_cli("comp", "folds", *SMALL)[0] == 0
    status, out, _ = run_cli("comp", "doctor", "--device", "cpu", *SMALL)
    assert status == 0
    assert "folds 0, 1, 2" in out and "48 train, 8 test, 8 classes" in out
    assert len(out.splitlines()) <= 24  # one screen


def test_doctor_json_is_one_object_with_problems(workspace, run_cli):
    status, out, _ = run_cli("comp", "doctor", "--json", "--device", "cpu", *SMALL)
    content = json.loads(out)
    assert status == 1
    assert [problem["severity"] for problem in content["problems"]] == ["error"]
    assert {"topic": "device", "text": "cpu"} in content["rows"]


def test_doctor_keys_are_reported_but_not_printed(demo_config, report, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "sesame")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "sesame")
    project.check_logins(report, demo_config)
    assert str(report).count("a key is set") == 2
    assert "sesame" not in str(report)


def test_doctor_competition_without_kaggle_key_is_a_warning(demo_config, report, monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "nothing"))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    submit = demo_config.submit.model_copy(update={"kaggle": "digits"})
    project.check_logins(report, demo_config.model_copy(update={"submit": submit}))
    [(severity, message)] = report.problems
    assert severity == "warning" and "access_token" in message


def installed(monkeypatch, **versions: str) -> None:
    """Let these packages have other versions than the installed ones."""
    other = {name.replace("_", "-"): number for name, number in versions.items()}
    monkeypatch.setattr(packages, "version", lambda name: other.get(name) or version(name))


def test_doctor_package_out_of_bounds_is_an_error_with_pip_command(report, monkeypatch):
    installed(monkeypatch, timm="0.9.2")
    packages.check_packages(report)
    assert ("error", "timm 0.9.2 is not >=1.0.20; run: pip install 'timm>=1.0.20'") in report.problems


def test_doctor_optional_package_out_of_bounds_is_a_warning(report, monkeypatch):
    installed(monkeypatch, kaggle="1.5")
    packages.check_packages(report)
    assert [severity for severity, message in report.problems if message.startswith("kaggle 1.5")] == ["warning"]


def test_doctor_two_opencv_builds_are_a_warning(report, monkeypatch):
    installed(monkeypatch, opencv_python="4.9.0")
    packages.check_packages(report)
    [message] = [message for _, message in report.problems if "OpenCV" in message]
    assert "pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python-headless" in message


def test_doctor_package_that_cannot_be_imported_is_an_error(report, monkeypatch):
    def fail(name: str) -> None:
        if name == "timm":
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(packages.importlib, "import_module", fail)
    assert not packages.check_imports(report)
    assert "`import timm` fails: RuntimeError: operator torchvision::nms" in str(report)


@pytest.fixture
def gpu(monkeypatch):
    """A Pascal GPU as torch describes it; nothing can be computed on it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (15 * 2**30, 16 * 2**30))


def test_doctor_gpu_without_kernels_is_one_error_of_the_device(gpu, report, monkeypatch):
    def refuse(name: str) -> torch.device:
        raise UserError(f"--device {name} has no kernels; install another wheel")

    monkeypatch.setattr("comp.engine.device.choose_device", refuse)
    accelerator.check_gpus(report)
    assert accelerator.choose(report, "auto") is None
    assert report.problems == [("error", "--device auto has no kernels; install another wheel")]
    assert "Tesla P100, sm_60, 15.0 of 16.0 GB free, no kernel runs" in str(report)


def test_doctor_gpu_filled_by_other_programs_is_a_warning(gpu, report, monkeypatch):
    monkeypatch.setattr("comp.engine.device.choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**29, 16 * 2**30))
    accelerator.check_gpus(report)
    [(severity, message)] = report.problems
    assert severity == "warning" and "cuda:0 has 0.5 of 16.0 GB free; end the programs" in message


@pytest.mark.parametrize(("cuda", "problem"), [(None, "built without CUDA"), ("13.2", "sees 0 of 1 GPUs")])
def test_doctor_gpu_that_torch_does_not_see_is_a_warning(report, monkeypatch, cuda, problem):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    answer = SimpleNamespace(returncode=0, stdout="535.104, Tesla T4\n")
    monkeypatch.setattr(accelerator.subprocess, "run", lambda *_, **__: answer)
    accelerator.check_gpus(report)
    [(severity, message)] = report.problems
    assert severity == "warning" and problem in message
    assert "driver  535.104" in str(report)


def test_doctor_cpu_without_compiler_is_a_warning(demo_config, report, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("comp.engine.kernels.fuse.kernels_available", lambda: False)
    accelerator.check_choices(report, demo_config, torch.device("cpu"))
    [(severity, message)] = report.problems
    assert severity == "warning" and "no-such-compiler is not installed" in message


def test_doctor_small_shared_memory_is_a_warning_for_workers_only(demo_config, report, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    machine.check_shared_memory(report, demo_config, torch.device("cpu"))
    assert not report.problems
    data = demo_config.data.model_copy(update={"workers": 2})
    machine.check_shared_memory(report, demo_config.model_copy(update={"data": data}), torch.device("cpu"))
    assert "set data.workers=0" in str(report)


def test_doctor_full_disk_is_an_error(report, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    machine.check_disk(report)
    assert report.has_errors
