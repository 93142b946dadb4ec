"""Open an .onnx file in ONNX Runtime. This file imports no torch, so that one image is answered soon."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from comp.errors import require_extra

if TYPE_CHECKING:
    import onnxruntime


def open_session(graph: bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """Return a session that runs a graph on the CPU; 0 threads are one per core."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # on by default since 1.29; read when it is imported
    with require_extra("export"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3  # errors, no warnings
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
