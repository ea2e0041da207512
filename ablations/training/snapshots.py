"""Weights of a run on its way, for what is measured through training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from ablations.files import write_bytes
from ablations.store import snapshot, snapshot_epochs


class Snapshots:
    """The snapshots of one run, in its folder: its weights and running averages after 1, 2, 4, ... epochs."""

    def __init__(self, folder: Path):
        self.folder = folder

    def keep(self, epoch: int, weights: Mapping[str, Tensor]) -> str:
        """Write the weights after an epoch. The file's SHA-256."""
        content = safetensors.torch.save(dict(weights))
        write_bytes(self.folder / snapshot(epoch), content)
        return hashlib.sha256(content).hexdigest()

    def go_with(self, checkpoint: Mapping[str, Any]) -> bool:
        """Whether all are there, as they were written, that the run had kept by a checkpoint."""
        kept = checkpoint.get("snapshots", {})
        return list(kept) == snapshot_epochs(checkpoint["epoch"]) and all(
            (path := self.folder / snapshot(epoch)).is_file()
            and hashlib.sha256(path.read_bytes()).hexdigest() == digest
            for epoch, digest in kept.items()
        )
