"""Export each member of a served model as one ONNX graph: all fold models and views, from uint8 squares to predictions.

The calibration and the blend stay outside, in the few lines of NumPy that infer.py uses too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from comp.engine.export import to_onnx
from comp.engine.onnx_session import open_session
from comp.engine.predict import Activation, NormalisedModel
from comp.engine.views import VIEWS
from comp.ensemble.blend import Blend
from comp.errors import UserError
from comp.files import write_atomic
from comp.prediction.export import sample_images
from comp.prediction.load import load_model, load_run_dataset
from comp.records.served import ServedMember, ServedRecord
from comp.records.weights import ModelSpec, read_weights
from comp.runs import read_run

TOLERANCE = 1e-4  # largest difference of a prediction; measured 3e-6 on the networks of the kit


class _MemberNetwork(nn.Module):
    """All views of a batch through all fold models: uint8 (N, size, size, 3) to (fold models, views, N, columns)."""

    def __init__(self, networks: Sequence[nn.Module], views: Sequence[str], activate: Activation):
        super().__init__()
        self.networks, self.views, self.activate = nn.ModuleList(networks), tuple(views), activate

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        upright = images.permute(0, 3, 1, 2)
        turned = torch.cat([VIEWS[view].apply(upright) for view in self.views]).permute(0, 2, 3, 1)
        outputs = torch.stack([network(turned).float() for network in self.networks])
        predictions = self.activate(outputs)
        return predictions.reshape(len(self.networks), len(self.views), -1, predictions.shape[-1])


def export_members(record: ServedRecord, files: Sequence[Path]) -> ServedRecord:
    """Write the graph of each member, if it agrees with torch on training images; return the record with the hashes."""
    task = Blend.from_spec(record.blend, record.classes).task
    members = []
    for member, part, file in zip(record.members, record.blend.parts, files, strict=True):
        network, spec = _load(member, part.views, task.activate)
        graph = to_onnx(network, spec.name, member.size, "predictions", {"columns": list(task.columns)}, count_axis=2)
        images = sample_images(load_run_dataset(read_run(Path(member.path))), spec)
        difference = _largest_difference(network, graph, images)
        if not difference <= TOLERANCE:  # not for NaN either
            raise UserError(
                f"the predictions of {spec.name} in ONNX Runtime differ from torch's by {difference:.1e}, more than "
                f"{TOLERANCE:.0e}; use --runtime torch"
            )
        write_atomic(file, graph)
        print(f"wrote {file}: differs from torch by at most {difference:.0e} on {len(images)} training images")
        members.append(replace(member, graph_sha256=hashlib.sha256(graph).hexdigest()))
    return replace(record, members=tuple(members))


def _load(member: ServedMember, views: Sequence[str], activate: Activation) -> tuple[nn.Module, ModelSpec]:
    """Return the network of a member in 32 bits, and the spec of its first model."""
    models = [
        load_model(read_weights(Path(member.path) / f"fold{fold}" / "weights.pt", sha256), torch.device("cpu"))
        for fold, sha256 in member.weights_sha256.items()
    ]
    networks = [NormalisedModel(loaded.model, loaded.spec.mean, loaded.spec.std) for loaded in models]
    return _MemberNetwork(networks, views, activate).eval(), models[0].spec


@torch.no_grad()
def _largest_difference(network: nn.Module, graph: bytes, images: torch.Tensor) -> float:
    """Return the largest difference of a prediction between torch and the graph, in batches of one and of more.

    It is relative to the largest prediction where that is above 1, as numbers may be.
    """
    session, differences, scale = open_session(graph), [], 1.0
    for batch in (images[:1], images[1:]):
        expected = network(batch).numpy()
        [predictions] = session.run(None, {"images": batch.numpy()})
        differences.append(np.abs(expected - predictions).max())
        scale = max(scale, float(np.abs(expected).max()))
    return float(np.max(differences)) / scale
