"""The command that answers on a local page: serve."""

from __future__ import annotations

import argparse

from comp.cli import add_device_argument


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run, blend or submission, by name or path")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="port of the page (default: %(default)s)")
    parser.add_argument(
        "--runtime", choices=("torch", "onnx"), default="torch", help="compute with this library (default: torch)"
    )
    add_device_argument(parser)


def serve(args: argparse.Namespace) -> None:
    """Open a page on this machine that answers about the images you drop on it, up to ten at once.

      python -m comp serve demo                     http://127.0.0.1:8000, until Ctrl-C
      python -m comp serve submissions/first.csv    the blend of a submission
      python -m comp serve demo --runtime onnx      starts without torch: no heat maps, no training images
      python -m comp serve demo --port 0            any free port

    The page shows the answer with its probabilities, which are those of predict; what in the image decided it (extra
    `serve`); the training images most like it; and a warning where an image is unlike the training data. The first
    call computes the features of all training images by one fold model, and keeps them beside the run.

    The page is served to this machine alone, and sends nothing elsewhere. Images are not kept. A file may have 20 MB
    and 50 million pixels; its format is read from its content, not from its name.
    """
    import contextlib

    from comp.cli import announce_imports

    if args.runtime == "torch":
        announce_imports()
    from comp.serving.model import open_model
    from comp.serving.page import open_page
    from comp.serving.server import PageServer

    def make_page():
        return open_page(open_model(args.run, args.runtime, args.device), args.runtime, args.device)

    with PageServer(make_page, args.port) as server, contextlib.suppress(KeyboardInterrupt):
        for note in server.page.notes:
            print(note)
        print(f"page: {server.url} (end with Ctrl-C)", flush=True)
        server.serve_forever()
