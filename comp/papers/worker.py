"""One training in a process of its own, which measures its own peak memory and may be killed without losing others."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from multiprocessing.connection import Connection

import torch

from comp.cli import format_error
from comp.engine.device import choose_device
from comp.schema import Config
from comp.training import train as training
from comp.training.process import KILLED_MESSAGE, spawn_process


def train(config: Config, device: torch.device) -> str | None:
    """Train fold 0, or resume it, in a new process. Return the error message, or None if it succeeded."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = spawn_process(_train_and_send, config, device, sender)
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return KILLED_MESSAGE
    except KeyboardInterrupt:
        process.terminate()
        raise
    finally:
        process.join()


def _train_and_send(config: Config, device: torch.device, sender: Connection) -> None:
    # makes it the current CUDA device of this process
    sender.send(train_in_process(config, choose_device(str(device))))


def train_in_process(config: Config, device: torch.device) -> str | None:
    """Train fold 0, or resume it, in this process. Return the error message, or None if it succeeded."""
    # Nothing is lost: the lines are in train.log too.
    with open(os.devnull, "w") as devnull, contextlib.redirect_stdout(devnull):
        try:
            training.run_experiment(config, fold="0", device=device)
        except Exception as error:  # for example out of memory: the other rows are still trained
            return format_error(error)
    return None
