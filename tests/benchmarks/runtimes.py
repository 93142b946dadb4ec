"""How fast a trained network answers: eager torch against the runtimes of infer.py, on this machine's CPU.

  python tests/benchmarks/runtimes.py                                  the main model at 224 px, three rounds
  python tests/benchmarks/runtimes.py resnet18 --size 128 --rounds 1

eager: `model(images)`, channels first, as torch makes it. equalised: channels last, and the allocator keeps its memory.
The runtimes are fed bytes and normalise them; the eager ones find normalised floats ready. Every figure is the median
over rounds, each way alone in a process of its own: waiting threads of one runtime would slow the next. Eight views
over one: images of input/blood-cells, read and resized as infer.py does; 1 means that a view costs the same in both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

RUNTIMES = ("torch", "onnx", "openvino")
WAYS = ("eager", "equalised", *RUNTIMES)
COLUMNS = {"latency_ms": "1 image, ms", "ips": "32 images, images/s", "views": "8 views over 1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="sharif_deep_efficientnet")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        return print(json.dumps(measure(args.way, args.model, args.size)))
    command = [sys.executable, __file__, args.model, "--size", str(args.size), "--way"]
    rounds = [
        {way: json.loads(subprocess.run([*command, way], check=True, stdout=subprocess.PIPE).stdout) for way in WAYS}
        for _ in range(args.rounds)
    ]
    print(f"{'':12}" + "".join(f"{title:>30}" for title in COLUMNS.values()))
    for way in WAYS:
        print(f"{way:12}" + "".join(f"{cell(rounds, way, key):>30}" for key in COLUMNS))


def cell(rounds: list[dict], way: str, key: str) -> str:
    """The figure, and how many times as good as eager it is: in each round, then the median."""
    if key not in rounds[0][way]:
        return ""
    value = statistics.median(each[way][key] for each in rounds)
    if key == "views":
        return f"{value:.2f}"
    gain = statistics.median(
        (each[way][key] / each["eager"][key]) ** (-1 if key == "latency_ms" else 1) for each in rounds
    )
    return f"{value:.1f} ({gain:.2f}x)"


def measure(way: str, name: str, size: int) -> dict[str, float]:
    import torch

    from comp.engine.device import configure_allocator
    from comp.engine.export import build_network
    from comp.engine.predict import normalise
    from comp.records.weights import ModelSpec
    from comp.zoo.build import build_model, normalisation

    model = build_model(name, 8, size=size).eval()
    mean, std = normalisation(model)
    pictures = torch.randint(0, 256, (32, size, size, 3), dtype=torch.uint8)
    if way != "eager":
        configure_allocator()
    if way in RUNTIMES:
        network = build_network(
            way, model, ModelSpec(name, {}, tuple("abcdefgh"), tuple(mean), tuple(std), size, "squash", None, "fp32")
        )
    else:
        layout = torch.contiguous_format if way == "eager" else torch.channels_last
        network = model.to(memory_format=layout)
        pictures = normalise(pictures, mean, std, torch.device("cpu")).contiguous(memory_format=layout)
    with torch.no_grad():
        made = {
            "latency_ms": 1000 * seconds(lambda: network(pictures[:1]), 100),
            "ips": 32 / seconds(lambda: network(pictures), 3),
        }
    return {**made, **({"views": views_over_one(network, size)} if way in RUNTIMES else {})}


def seconds(call: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times + max(2, times // 10)):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[-times:])


def views_over_one(network, size: int) -> float:
    import numpy as np
    import torch

    from comp.batches.loader import EvaluationSet, iterate_batches
    from comp.data.cache import load_cache, make_square_spec
    from comp.data.scan import scan
    from comp.engine.predict import predict_probabilities
    from comp.engine.views import TTA

    dataset = scan("input/blood-cells")
    cache = load_cache(dataset.name, dataset.train, make_square_spec(dataset.train, size, "squash", None))
    batches = EvaluationSet(cache, np.arange(32), size, 32)

    def once(views: str) -> float:
        start = time.perf_counter()
        predict_probabilities(
            [network], iterate_batches(batches, range(len(batches)), 0), views=TTA[views], device=torch.device("cpu")
        )
        return time.perf_counter() - start

    one, eight, again = once("none"), once("d4"), once("none")
    return 8 * (one + again) / 2 / eight


if __name__ == "__main__":
    main()
