"""A training job: those runs of an arm that the store lacks, one after another."""

from __future__ import annotations

from collections.abc import Iterable

import safetensors.torch
import torch

from ablations.data import Prepared
from ablations.files import set_aside
from ablations.plan import Arm, Run
from ablations.progress import Progress
from ablations.store import Damaged, Store
from ablations.training.checkpoint import Checkpoints, Signals
from ablations.training.engine import train
from ablations.training.environment import environment


def train_arm(arm: Arm, seeds: Iterable[int], data: Prepared, store: Store, device: torch.device) -> None:
    """Train the runs of an arm that are missing or damaged, each from its checkpoint where there is one, and tell
    of each. Raises Interrupted where a signal ends it."""
    for seed in seeds:
        run = Run(arm, seed, data.fingerprint)
        try:
            metrics = store.verified(run)
        except Damaged as error:
            set_aside(store.path(run), str(error))
            metrics = None
        if metrics is not None:
            print(
                f"{arm.name} seed {seed}: cached, {metrics['status']}, test error {metrics['test_error']:.2f} %"
            )
            continue
        progress = Progress(f"{arm.name} seed {seed}", arm.recipe.epochs)
        checkpoints = Checkpoints(store.path(run))
        with Signals():
            trained = train(run, data, device, progress, checkpoints)
        weights = safetensors.torch.save(trained.weights)
        store.save(run, trained.metrics, trained.history, weights, environment(device))
        checkpoints.clear()
        progress.finish(trained.metrics)
