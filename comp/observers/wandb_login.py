"""Resolve the mode of W&B and check its login, from the config, the environment and the stored keys."""

from __future__ import annotations

import netrc
import os
from urllib.parse import urlsplit

from comp.errors import UserError, shorten

MODES = ("online", "offline", "disabled")
DEFAULT_SERVERS = ("https://api.wandb.ai", "https://api.forge.coreweave.com")  # the second is that of wandb 0.31
SECONDS_TO_ANSWER = 15


def wandb_mode(requested: str) -> str:
    """Resolve `log.wandb`: `auto` is online where an API key is configured, else off. Never prompts."""
    if requested != "auto":
        return requested
    return _mode_of_environment() or ("online" if has_wandb_key() else "off")


def sync_mode() -> str:
    """Return `online`, or `offline` where WANDB_MODE says so; a UserError where W&B cannot be used. Never prompts."""
    mode = _mode_of_environment() or "online"
    if mode == "off":
        raise UserError("WANDB_MODE=disabled switches W&B off; unset it, or set it to offline")
    if mode == "online":
        check_service()
    return mode


def check_service() -> None:
    """Raise a UserError unless there is a login and the service answers to it."""
    if not has_wandb_key():
        raise UserError("no W&B login; run `wandb login`, or write files to upload later with WANDB_MODE=offline")
    import wandb

    try:
        wandb.setup(wandb.Settings(silent=True))  # else it prints where it found the key
        viewer = wandb.Api(timeout=SECONDS_TO_ANSWER).viewer
    except Exception as error:  # of any kind: the client has many
        raise UserError(
            f"W&B cannot be used: {shorten(' '.join(str(error).split()), 200)}; check network and login, or "
            f"write files to upload later with WANDB_MODE=offline"
        ) from None
    if viewer is None:
        raise UserError("W&B refuses the API key; run `wandb login --relogin`")


def has_wandb_key() -> bool:
    """Return whether an API key is configured."""
    return bool(os.environ.get("WANDB_API_KEY")) or _has_key_in_netrc()


def _mode_of_environment() -> str | None:
    mode = os.environ.get("WANDB_MODE")
    return mode.replace("disabled", "off") if mode in MODES else None


def _has_key_in_netrc() -> bool:
    base_url = os.environ.get("WANDB_BASE_URL")
    try:
        logins = netrc.netrc(os.environ.get("NETRC"))
        return any(logins.authenticators(urlsplit(url).netloc) for url in ([base_url] if base_url else DEFAULT_SERVERS))
    except (OSError, netrc.NetrcParseError):
        return False
