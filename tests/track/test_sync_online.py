"""`comp track sync` with the real client and a stand-in for the service of W&B on localhost."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from comp.cli import run_main
from comp.errors import UserError
from comp.observers import wandb_login
from tests.track.five_folds import write_five_folds, write_submission_of
from tests.wandb_service import WandbService

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def service(tmp_path, monkeypatch):
    """The stand-in, and the client directed to it; its settings are read anew."""
    import wandb

    service = WandbService()
    for name, value in {"WANDB_BASE_URL": service.url, "WANDB_API_KEY": KEY, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    connect = socket.socket.connect

    def guarded(self, address):
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "localhost"), f"connected to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    wandb.teardown()
    yield service
    wandb.teardown()
    service.close()
    assert not service.errors


@pytest.mark.slow
def test_sync_online_twice_has_every_run_epoch_and_artifact_once(service, tiny_dataset, tmp_path, monkeypatch, run_cli):
    shutil.copytree(tiny_dataset, tmp_path / "input" / "tiny")
    shutil.copytree(Path(__file__).parents[2] / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    run = write_five_folds("five", Path("input/tiny").resolve())
    write_submission_of(run)
    status, out, err = run_cli(str(tmp_path / "comp"), "track", "sync")
    assert (status, out, err) == (0, "W&B (online): 7 runs written, 0 were there already\n", "")
    assert run_cli("comp", "track", "sync")[1] == "W&B (online): 0 runs written, 7 were there already\n"
    first = {name: dict(content["history"]) for name, content in service.runs.items()}
    by_name = {content["displayName"]: content for content in service.runs.values()}
    assert sorted(by_name["five-fold2"]["history"]) == [1, 2, 3, 4]  # three epochs, and the confusion matrix
    assert by_name["five-summary"]["jobType"] == "summary" and by_name["five-summary"]["groupName"] == "five"
    assert by_name["five-summary"]["summary"]["oof"] == pytest.approx(38 / 48)

    for marker in Path("runs").rglob("written-*.json"):  # as on a teammate's machine
        marker.unlink()
    assert run_cli("comp", "track", "sync")[1] == "W&B (online): 7 runs written, 0 were there already\n"
    assert {name: content["history"] for name, content in service.runs.items()} == first
    versions = {key: len(digests) for key, digests in service.artifacts.items() if key[0] != "table"}
    assert set(versions.values()) == {1} and ("dataset", "dataset-tiny") in versions and len(versions) == 9
    assert {artifact for _, artifact in service.used} >= {"dataset-tiny:v0", "weights-five-fold4:v0", "oof-five:v0"}

    assert {content["program"] for content in service.runs.values()} == {"comp"}  # the client would send its path
    private = [KEY, "secret-place", "secret-host", str(tmp_path), str(Path(__file__).parents[2])]
    assert not [text for text in private for body in service.bodies if text.encode() in body]


def test_sync_without_network_is_one_error(service, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(wandb_login, "SECONDS_TO_ANSWER", 1)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there

    def main():
        wandb_login.sync_mode()

    capfd.readouterr()
    assert run_main(main) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: W&B cannot be used: ") and err.count("\n") == 1
    assert "WANDB_MODE=offline" in err


def test_sync_with_a_refused_key_is_an_error(service, monkeypatch):
    monkeypatch.setattr(WandbService, "_Viewer", lambda *_: {"viewer": None})
    monkeypatch.setattr(WandbService, "_GetViewer", lambda *_: {"viewer": None})
    with pytest.raises(UserError, match="W&B "):
        wandb_login.sync_mode()
