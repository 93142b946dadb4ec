"""The latency is that of the fastest batch, per image, measured once for each machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from comp.prediction import latency
from comp.records.predictions import LatencyRecord

CPU = torch.device("cpu")


@pytest.fixture
def batches(monkeypatch) -> list:
    """Let the ten batches take 1.0, 0.9, ... 0.1 s by a clock of their own, and return the batches that were run."""
    shown = []
    now = SimpleNamespace(time=0.0)

    def predict(networks, images, *, views, device):
        shown.append((networks, images[0], list(views), device))
        now.time += 1.0 - 0.1 * ((len(shown) - 1) % 10)

    monkeypatch.setattr(latency, "predict_probabilities", predict)
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: now.time))
    return shown


def test_cached_latency_ms_is_the_fastest_batch_per_image(batches, tmp_path):
    network = object()
    milliseconds = latency.cached_latency_ms(tmp_path / "cost.json", lambda: network, CPU, size=24, batch_size=4)
    assert milliseconds == pytest.approx(0.1 / 4 * 1000)
    assert len(batches) == 10
    networks, images, views, device = batches[0]
    assert networks == [network] and views == ["identity"] and device == CPU
    assert images.shape == (4, 24, 24, 3) and images.dtype == torch.uint8 and 100 < images.float().mean() < 155


def test_cached_latency_ms_is_measured_once_on_each_machine(batches, tmp_path, monkeypatch, capsys):
    path = tmp_path / "cost.json"
    LatencyRecord({"another machine, 8 threads": 1.5}).write(path)
    first = latency.cached_latency_ms(path, lambda: None, CPU, 24, 4)
    assert latency.cached_latency_ms(path, pytest.fail, CPU, 24, 4) == first and len(batches) == 10
    measured = LatencyRecord.read(path).milliseconds
    assert len(measured) == 2 and measured["another machine, 8 threads"] == 1.5 and first in measured.values()
    monkeypatch.setattr(latency, "process_info", lambda device: SimpleNamespace(device_name="new", threads=2))
    assert latency.cached_latency_ms(path, lambda: None, CPU, 24, 4) == first and len(batches) == 20
    assert "new, 2 threads" in LatencyRecord.read(path).milliseconds and capsys.readouterr().out == ""


def test_cached_latency_ms_corrupt_file_is_measured_again_and_says_so(batches, tmp_path, capsys):
    path = tmp_path / "cost.json"
    path.write_text("[")
    milliseconds = latency.cached_latency_ms(path, lambda: None, CPU, 24, 4)
    assert list(LatencyRecord.read(path).milliseconds.values()) == [milliseconds]
    line = capsys.readouterr().out
    assert str(path) in line and line.endswith("; measured again\n") and line.count("\n") == 1
