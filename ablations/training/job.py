"""A training job: those runs of an arm that the store lacks, one after another."""

from __future__ import annotations

from collections.abc import Iterable

import safetensors.torch
import torch

from ablations.data import Prepared
from ablations.plan import Arm, Run
from ablations.progress import Progress
from ablations.store import Store
from ablations.training.engine import train
from ablations.training.environment import environment


def train_arm(arm: Arm, seeds: Iterable[int], data: Prepared, store: Store, device: torch.device) -> None:
    """Train the runs of an arm that are missing, and tell of each."""
    for seed in seeds:
        run = Run(arm, seed, data.fingerprint)
        metrics = store.metrics(run)
        if metrics is not None:
            print(
                f"{arm.name} seed {seed}: cached, {metrics['status']}, test error {metrics['test_error']:.2f} %"
            )
            continue
        progress = Progress(f"{arm.name} seed {seed}", arm.recipe.epochs)
        trained = train(run, data, device, progress)
        weights = safetensors.torch.save(trained.weights)
        store.save(run, trained.metrics, trained.history, weights, environment(device))
        progress.finish(trained.metrics)
