"""Open an .onnx file in ONNX Runtime. This file imports no torch, so that one image is answered soon."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from comp.errors import UserError

if TYPE_CHECKING:
    import onnxruntime


def open_session(graph: bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """Return a session that runs a graph on the CPU; 0 threads are one per core."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # on by default since 1.29; read when it is imported
    with require_export_extra():
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3  # errors, no warnings
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def require_export_extra() -> Iterator[None]:
    """Turn an ImportError of a runtime into a UserError with the command that installs it."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"{error}; pip install -e '.[export]'") from None
