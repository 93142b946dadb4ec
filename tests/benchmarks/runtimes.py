"""Measure the inference of eager torch and of the runtimes of infer.py, on this machine's CPU.

  python tests/benchmarks/runtimes.py                                  the main model at 224 px, three rounds
  python tests/benchmarks/runtimes.py resnet18 --size 128 --rounds 1

eager: `model(images)`, channels first, as torch makes it. equalised: channels last, and the allocator keeps its memory.
The runtimes get uint8 and normalise it; the eager variants get normalised floats. Every number is the median over
rounds, each variant in a process of its own: waiting threads of one runtime would slow the next. Eight views over one:
images of input/blood-cells, read and resized as infer.py does; 1 means that a view costs the same in both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

RUNTIMES = ("torch", "onnx", "openvino", "openvino-bf16")  # the last on a processor with instructions for bf16
VARIANTS = ("eager", "equalised", *RUNTIMES)
COLUMNS = {"latency_ms": "1 image, ms", "ips": "32 images, images/s", "views": "8 views over 1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="sharif_deep_efficientnet")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        return print(json.dumps(measure(args.variant, args.model, args.size)))
    from comp.engine.precision import cpu_computes_bf16

    variants = [variant for variant in VARIANTS if variant != "openvino-bf16" or cpu_computes_bf16()]
    command = [sys.executable, __file__, args.model, "--size", str(args.size), "--variant"]
    rounds = [
        {
            variant: json.loads(subprocess.run([*command, variant], check=True, stdout=subprocess.PIPE).stdout)
            for variant in variants
        }
        for _ in range(args.rounds)
    ]
    print(f"{'':13}" + "".join(f"{title:>30}" for title in COLUMNS.values()))
    for variant in variants:
        print(f"{variant:13}" + "".join(f"{cell(rounds, variant, key):>30}" for key in COLUMNS))


def cell(rounds: list[dict], variant: str, key: str) -> str:
    """Return the median, and the median over rounds of its gain over eager."""
    if key not in rounds[0][variant]:
        return ""
    value = statistics.median(results[variant][key] for results in rounds)
    if key == "views":
        return f"{value:.2f}"
    gain = statistics.median(
        (results[variant][key] / results["eager"][key]) ** (-1 if key == "latency_ms" else 1) for results in rounds
    )
    return f"{value:.1f} ({gain:.2f}x)"


def measure(variant: str, name: str, size: int) -> dict[str, float]:
    import torch

    from comp.engine.device import configure_allocator
    from comp.engine.export import build_network
    from comp.engine.predict import normalise
    from comp.records.weights import ModelSpec
    from comp.zoo.build import build_model, normalisation

    model = build_model(name, 8, size=size).eval()
    mean, std = normalisation(model)
    images = torch.randint(0, 256, (32, size, size, 3), dtype=torch.uint8)
    if variant != "eager":
        configure_allocator()
    if variant in RUNTIMES:
        network = build_network(
            variant,
            model,
            ModelSpec(name, {}, tuple("abcdefgh"), tuple(mean), tuple(std), size, "squash", None, "fp32"),
        )
    else:
        layout = torch.contiguous_format if variant == "eager" else torch.channels_last
        network = model.to(memory_format=layout)
        images = normalise(images, mean, std, torch.device("cpu")).contiguous(memory_format=layout)
    with torch.no_grad():
        result = {
            "latency_ms": 1000 * seconds(lambda: network(images[:1]), 100),
            "ips": 32 / seconds(lambda: network(images), 3),
        }
    return {**result, **({"views": views_over_one(network, size)} if variant in RUNTIMES else {})}


def seconds(call: Callable[[], object], times: int) -> float:
    durations = []
    for _ in range(times + max(2, times // 10)):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[-times:])


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

    def seconds_of(views: str) -> float:
        start = time.perf_counter()
        predict_probabilities(
            [network], iterate_batches(batches, range(len(batches)), 0), views=TTA[views], device=torch.device("cpu")
        )
        return time.perf_counter() - start

    before, eight, after = seconds_of("none"), seconds_of("d4"), seconds_of("none")
    return 8 * (before + after) / 2 / eight


if __name__ == "__main__":
    main()
