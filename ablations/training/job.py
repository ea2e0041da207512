"""A training job: those runs of an arm that the store lacks, one after another, and the arm's table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import safetensors.torch
import torch

from ablations.data import Prepared
from ablations.plan import Arm, Run
from ablations.progress import Progress
from ablations.store import Store
from ablations.training.engine import train
from ablations.training.environment import environment

# Columns of the table of runs that come from a run's environment.
ENVIRONMENT = ("device", "threads", "torch", "python", "commit", "dirty")


def train_arm(
    arm: Arm, seeds: Iterable[int], data: Prepared, store: Store, device: torch.device
) -> list[dict[str, Any]]:
    """Train the runs that are missing; rows of the table of runs for all of them."""
    rows = []
    for seed in seeds:
        run = Run(arm, seed, data.fingerprint)
        metrics = store.metrics(run)
        if metrics is None:
            progress = Progress(f"{arm.name} seed {seed}", arm.recipe.epochs)
            trained = train(run, data, device, progress)
            metrics = trained.metrics
            store.save(
                run, metrics, trained.history, safetensors.torch.save(trained.weights), environment(device)
            )
            progress.finish(metrics)
        else:
            print(
                f"{arm.name} seed {seed}: cached, {metrics['status']}, test error {metrics['test_error']:.2f} %"
            )
        where = store.environment(run)
        sizes = {f"{name}_images": len(getattr(data, name)) for name in ("train", "validation", "test")}
        rows.append(
            {
                "run": run.id,
                "arm": arm.id,
                "seed": seed,
                **metrics,
                **sizes,
                **{k: where.get(k) for k in ENVIRONMENT},
            }
        )
    return rows
