"""A training job: those runs of an arm that the store lacks."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import safetensors.torch
import torch

from ablations.errors import Interrupted, UserError
from ablations.files import set_aside
from ablations.plan import Arm, Run
from ablations.progress import Progress
from ablations.store import Damaged, Store
from ablations.training.checkpoint import Checkpoints, Signals
from ablations.training.engine import course, denormals_as_zero
from ablations.training.environment import environment
from ablations.training.evaluation import Splits
from ablations.training.lane import side_by_side


def train_arm(arm: Arm, seeds: Iterable[int], splits: Splits, store: Store, at_once: int = 1) -> None:
    """Train the runs of an arm that are missing or damaged, up to `at_once` at a time, each from its checkpoint
    where there is one, and tell of each. Raises Interrupted where a signal ends it."""
    courses = (train_seed(Run(arm, seed, splits.data.fingerprint), splits, store, at_once) for seed in seeds)
    with Signals(), denormals_as_zero():
        side_by_side(courses, splits.device, at_once)
        if Signals.received is not None:  # it came after the last step
            raise Interrupted(Signals.received)


def train_seed(run: Run, splits: Splits, store: Store, at_once: int) -> Generator[None, None, None]:
    """Train a run if the store lacks it, pausing after each step."""
    arm, seed, device = run.arm, run.seed, splits.device
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
    checkpoints.folder.mkdir(parents=True, exist_ok=True)  # what cannot be written is said before training
    try:
        trained = yield from course(run, splits, progress, checkpoints)
    except (torch.OutOfMemoryError, MemoryError) as error:
        first_line = str(error).partition("\n")[0]
        raise UserError(
            f"{arm.name}, batch_size {arm.recipe.batch_size}, on {device}: out of memory ({first_line}). "
            "Give a smaller batch_size or network, or let fewer runs share the device (--at-once, --runs-per-gpu)"
        ) from None
    weights = safetensors.torch.save(trained.weights)
    where = {**environment(device), "at_once": at_once, "steps": trained.steps}
    store.save(run, trained.metrics, trained.history, weights, where)
    checkpoints.clear()
    progress.finish(trained.metrics)
