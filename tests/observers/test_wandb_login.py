"""Resolving the mode of W&B by config, environment and login."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from wandb.sdk.lib.urls import DEFAULT_BASE_URL

from comp.errors import UserError
from comp.observers.wandb_login import has_wandb_key, sync_mode, wandb_mode


@pytest.fixture
def without_login(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("host", ["api.wandb.ai", urlsplit(DEFAULT_BASE_URL).netloc])
def test_wandb_mode_auto_is_online_only_with_a_key(host, monkeypatch, without_login):
    assert wandb_mode("auto") == "off"
    netrc = without_login / ".netrc"
    netrc.write_text(f"machine {host} login user password 0123\n")
    netrc.chmod(0o600)
    assert wandb_mode("auto") == "online"
    netrc.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "0123")
    assert wandb_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert (wandb_mode("auto"), wandb_mode("off")) == ("offline", "off")


def test_wandb_key_is_that_of_the_server_in_the_environment(monkeypatch, without_login):
    (without_login / ".netrc").write_text("machine wandb.example:8080 login user password 0123\n")
    (without_login / ".netrc").chmod(0o600)
    assert not has_wandb_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example:8080")
    assert has_wandb_key()


def test_sync_mode_without_login_or_where_wandb_is_off_says_what_to_do(monkeypatch, without_login):
    with pytest.raises(UserError, match=r"no W&B login; run `wandb login`, or .* WANDB_MODE=offline"):
        sync_mode()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(UserError, match="unset it"):
        sync_mode()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert sync_mode() == "offline"
