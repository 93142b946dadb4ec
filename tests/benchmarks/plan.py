"""The measurements of a comparison; each is a command that ends with one line of JSON on stdout."""

from __future__ import annotations

from dataclasses import dataclass

ROUNDS = 3
# A case -> model, size and batch; the ratios that the kit should reach at least, on cores that compute in bf16.
TRAINING = {
    "sharif_deep_efficientnet 224 px": (("sharif_deep_efficientnet", 224, 32), {"canonical": 4.5, "equalised": 2.5}),
    "resnet18 224 px": (("resnet18", 224, 32), {"canonical": 2.8, "equalised": 2.2}),
    "mobilenetv4_conv_small 128 px": (("mobilenetv4_conv_small", 128, 32), {"canonical": 2.5, "equalised": 2.0}),
    "efficientnet_b0 224 px": (("efficientnet_b0", 224, 32), {"canonical": 3.5, "equalised": 2.2}),
}
END_TO_END = (128, 224)  # side of the images that training is compared with its step for
PEERS = {  # a peer -> its script and switches; all but the equalised one are as their documentation shows
    "timm": ("peer_timm.py",),
    "timm, equalised": ("peer_timm.py", "--equalised"),
    "fastai": ("peer_fastai.py",),
    "Lightning": ("peer_lightning.py",),
}
EQUALISED = "timm, equalised"
WORKERS = (0, 2)  # of a peer's loader: both are tried in the first round, and the faster is kept
PRECISION = (
    "sharif_deep_efficientnet",
    "resnet18",
    "mobilenetv4_conv_small",
    "efficientnet_b0",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "karakus_unet_encoder",
)
SIZES = (1, 4, 16)  # times the demo
DEMO = "runs/bench/demo"


@dataclass(frozen=True)
class Measurement:
    case: str
    contender: str
    round: int
    program: str  # "kit" or "peer": which Python runs it
    arguments: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.case} | {self.contender} | {self.round}"


def bench(only: str, model: str, size: int, batch: int, images: str) -> tuple[str, ...]:
    return (
        "-m",
        "comp",
        "bench",
        "--only",
        only,
        "--json",
        *config_arguments(model, images),
        f"data.size={size}",
        f"train.batch={batch}",
    )


def config_arguments(model: str, images: str) -> tuple[str, ...]:
    """Return the config's dropout for the main model, and their own for other models, as the peers have it."""
    overrides = () if model.startswith("sharif") else ("model.dropout=null", "model.drop_path=null")
    return f"data.root={images}", f"model.name={model}", *overrides


def training_round(round_: int, images: str, best_workers: dict[tuple[str, str], int]) -> list[Measurement]:
    """Return the measurements of the kit and every peer, case by case."""
    plan = []
    for case, (arguments, _) in TRAINING.items():
        model, size, batch = map(str, arguments)
        plan.append(Measurement(case, "kit", round_, "kit", bench("train", *arguments, images)))
        for peer, (script, *switches) in PEERS.items():
            best = best_workers.get((case, peer))
            for workers in WORKERS if best is None else (best,):
                plan.append(
                    Measurement(
                        case,
                        f"{peer}, {workers} workers",
                        round_,
                        "peer",
                        (
                            f"tests/benchmarks/{script}",
                            *switches,
                            "--model",
                            model,
                            "--size",
                            size,
                            "--batch",
                            batch,
                            "--images",
                            images,
                            "--workers",
                            str(workers),
                        ),
                    )
                )
    return plan


def other_round(round_: int, images: str) -> list[Measurement]:
    """Return the measurements that compare the kit with itself."""

    def kit(case: str, contender: str, *arguments: str) -> Measurement:
        return Measurement(case, contender, round_, "kit", arguments)

    main = "sharif_deep_efficientnet"
    plan = [
        *(
            kit(f"end to end over the step, {size} px", "kit", *bench("train,step", main, size, 32, images))
            for size in END_TO_END
        ),
        kit("inference", "kit", *bench("infer", main, 224, 32, images)),
    ]
    if round_ == 0:  # each is paired or repeated inside one process
        plan += [
            kit(
                "automatic precision",
                model,
                "tests/benchmarks/precision.py",
                *config_arguments(model, images),
                "data.size=224" if "vit" in model else "data.size=128",
                "train.batch=32",
            )
            for model in PRECISION
        ]
        plan += [kit("growth", f"{times}x", "tests/benchmarks/growth.py", DEMO, str(times)) for times in SIZES]
    return plan
