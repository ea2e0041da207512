"""A training job: those runs of an arm that the store lacks, one after another."""

from __future__ import annotations

from collections.abc import Iterable

import safetensors.torch
import torch

from ablations.data import Prepared
from ablations.errors import Interrupted, UserError
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
    with Signals():
        for seed in seeds:
            train_seed(Run(arm, seed, data.fingerprint), data, store, device)
            if Signals.received is not None:  # it came after the last step
                raise Interrupted(Signals.received)


def train_seed(run: Run, data: Prepared, store: Store, device: torch.device) -> None:
    """Train a run if the store lacks it."""
    arm, seed = run.arm, run.seed
    try:
        metrics = store.verified(run)
    except Damaged as error:
        set_aside(store.path(run), str(error))
        metrics = None
    if metrics is not None:
        print(
            f"{arm.name} seed {seed}: cached, {metrics['status']}, test error {metrics['test_error']:.2f} %"
        )
        return
    progress = Progress(f"{arm.name} seed {seed}", arm.recipe.epochs)
    checkpoints = Checkpoints(store.path(run))
    try:
        trained = train(run, data, device, progress, checkpoints)
    except (torch.OutOfMemoryError, MemoryError) as error:
        first_line = str(error).partition("\n")[0]
        raise UserError(
            f"{arm.name}, batch_size {arm.recipe.batch_size}, on {device}: out of memory ({first_line}). "
            "Give a smaller batch_size or network, or let fewer runs share the device (--runs-per-gpu)"
        ) from None
    weights = safetensors.torch.save(trained.weights)
    store.save(run, trained.metrics, trained.history, weights, environment(device))
    checkpoints.clear()
    progress.finish(trained.metrics)
