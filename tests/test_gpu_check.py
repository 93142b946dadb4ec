"""make gpu-check where it can be tested: on a machine without a GPU, and its names."""

from __future__ import annotations

import pytest
import torch

from tests.gpu_check.__main__ import main


def test_gpu_check_without_gpu_says_so_in_one_line_and_exits_2(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu_check"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main() == 2
    out, err = capsys.readouterr()
    assert not out and err == "no GPU that torch can use; see python -m comp doctor\n"


def test_gpu_check_table_has_a_row_per_check_and_exits_1_if_one_fails(capsys, monkeypatch, tmp_path):
    from tests.gpu_check import computations, workspace

    def fails() -> str:
        raise ValueError("the numbers differ\nmuch")

    monkeypatch.setattr("sys.argv", ["gpu_check", "--keep", str(tmp_path), "--only", "driver,kernel"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(workspace, "prepare", lambda: None)
    monkeypatch.setitem(computations.COMPUTATIONS, "driver", lambda: "580.65")
    monkeypatch.setitem(computations.COMPUTATIONS, "kernel", fails)
    monkeypatch.chdir(tmp_path)
    assert main() == 1
    driver, kernel = capsys.readouterr().out.splitlines()[1:]
    assert driver.split()[:2] == ["driver", "holds"] and kernel.endswith("ValueError: the numbers differ much")


def test_gpu_check_unknown_check_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu_check", "--only", "kernels"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit):
        main()
    assert "unknown checks: kernels; available: driver, architecture, kernel" in capsys.readouterr().err
