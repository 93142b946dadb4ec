"""A served model: images in, predictions of the blend out, equal to those of infer.py for the same images.

With `runtime="onnx"` neither torch nor pandas is imported, so that one image is answered in about a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from comp.data.images import SquareSpec, resize
from comp.ensemble.blend import Blend, apply_blend
from comp.errors import UserError, shorten
from comp.files import file_exists, file_sha256, read_bytes
from comp.records.served import ServedMember, ServedRecord
from comp.rows import Rows
from comp.serving.reference import Reference, open_record, parse_reference, require_installation
from comp.tasks import Task

RUNTIMES = ("torch", "onnx")
MemberNetwork = Callable[[np.ndarray], np.ndarray]  # uint8 (N, size, size, 3) -> (fold models, views, N, columns)


@dataclass(frozen=True)
class ServedModel:
    """The blend of a run or a submission, with its networks in memory."""

    record: ServedRecord
    blend: Blend
    networks: tuple[MemberNetwork, ...]  # in the order of the record's members

    @property
    def task(self) -> Task:
        """The kind of target that is predicted."""
        return self.blend.task

    @property
    def batch_size(self) -> int:
        """The number of images in a batch: that of infer.py, for the same last bits."""
        return self.record.members[0].batch

    def predict_batches(self, batches: Iterable[Sequence[np.ndarray]]) -> np.ndarray:
        """Return predictions (images, columns) of batches of RGB images, each uint8 (height, width, 3)."""
        outputs: list[list[np.ndarray]] = [[] for _ in self.networks]
        count = 0
        for batch in batches:
            count += len(batch)
            for member, network, collected in zip(self.record.members, self.networks, outputs, strict=True):
                collected.append(network(prepare_images(member, batch)))
        if not count:
            return np.zeros((0, len(self.task.columns)))
        rows = Rows.of_images([str(position) for position in range(count)])
        return apply_blend(self.blend, [np.concatenate(parts, axis=2) for parts in outputs], rows)

    def predict(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return predictions (images, columns) of RGB images, each uint8 (height, width, 3)."""
        starts = range(0, len(images), self.batch_size)
        return self.predict_batches(images[start : start + self.batch_size] for start in starts)


def open_model(text: str, runtime: str = "torch", device: str = "auto") -> ServedModel:
    """Load the models of a run, blend or submission, given by name or path."""
    if runtime not in RUNTIMES:
        raise UserError(f"there is no runtime {shorten(runtime)} for single images; use torch or onnx")
    reference = parse_reference(text)
    record = open_record(reference, device)
    blend = Blend.from_spec(record.blend, record.classes, reference.file)
    if runtime == "onnx":
        return ServedModel(record, blend, _load_graphs(reference, record))
    return ServedModel(record, blend, _load_networks(record, blend, device))


def prepare_images(member: ServedMember, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return RGB images of any size as a member's fold models see them, uint8 (N, size, size, 3)."""
    square = SquareSpec(**vars(member.square))
    return np.stack([resize(square(image), member.size) for image in images])


def _load_networks(record: ServedRecord, blend: Blend, device_name: str) -> tuple[MemberNetwork, ...]:
    """Load the fold models of every member in torch."""
    with require_installation():
        import torch

    from comp.engine.device import choose_device, configure_allocator
    from comp.engine.predict import Network, predict_probabilities
    from comp.engine.runtime import make_torch_network
    from comp.prediction.load import load_model
    from comp.records.weights import read_weights

    configure_allocator()
    device = choose_device(device_name)

    def load(member: ServedMember) -> list[Network]:
        networks = []
        for fold, sha256 in member.weights_sha256.items():
            loaded = load_model(read_weights(Path(member.path) / f"fold{fold}" / "weights.pt", sha256), device)
            networks.append(make_torch_network(loaded.model, loaded.spec, device))
        return networks

    def bind(networks: Sequence[Network], views: Sequence[str]) -> MemberNetwork:
        return lambda images: predict_probabilities(
            networks, [torch.from_numpy(images)], views=views, device=device, activate=blend.task.activate
        )

    return tuple(
        bind(load(member), part.views) for member, part in zip(record.members, record.blend.parts, strict=True)
    )


def _load_graphs(reference: Reference, record: ServedRecord) -> tuple[MemberNetwork, ...]:
    """Load the graphs of every member in ONNX Runtime; they are exported first where they are missing or stale."""
    from comp.engine.onnx_session import open_session

    files = [reference.directory / f"member{index}.onnx" for index in range(len(record.members))]
    if not all(map(_is_intact, files, record.members)):
        with require_installation():
            from comp.serving.graph import export_members  # imported here: torch takes seconds

        record = export_members(record, files)
        record.write(reference.file)
    sessions = [open_session(read_bytes(file, None)) for file in files]

    def bind(session) -> MemberNetwork:
        return lambda images: session.run(None, {"images": images})[0]

    return tuple(map(bind, sessions))


def _is_intact(file: Path, member: ServedMember) -> bool:
    return member.graph_sha256 is not None and file_exists(file) and file_sha256(file) == member.graph_sha256
