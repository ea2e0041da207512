"""A training job: those runs of an arm that the store lacks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from typing import Any

import safetensors.torch
import torch

from ablations.errors import OutOfMemory
from ablations.files import set_aside
from ablations.locks import alone
from ablations.plan import Arm, Run
from ablations.progress import Progress
from ablations.store import WEIGHTS, Damaged, Store
from ablations.training.checkpoint import Checkpoints, Signals
from ablations.training.engine import course, denormals_as_zero
from ablations.training.environment import environment
from ablations.training.evaluation import Splits
from ablations.training.lane import side_by_side
from ablations.training.memory import reset_peak
from ablations.training.snapshots import Snapshots


def train_arm(
    arm: Arm,
    seeds: Iterable[int],
    splits: Splits,
    store: Store,
    at_once: int = 1,
    snapshots: bool = False,
    watch: Callable[[dict[str, float]], None] = lambda row: None,
) -> None:
    """Train the runs of an arm that are missing or damaged, or lack the snapshots asked for, up to `at_once` at a time,
    each from its checkpoint where there is one, and tell of each; `watch` sees each row of their histories, and may
    raise what ends a run. Raises Interrupted where a signal ends it, OutOfMemory where memory does not suffice; the
    others go on."""
    where = {**environment(splits.device), "at_once": at_once}
    # In one order in all processes: two that hold locks of runs and wait for others would wait for ever.
    runs = (Run(arm, seed, splits.data.fingerprint) for seed in sorted(seeds))
    courses = (
        train_seed(run, splits, store, where, snapshots, watch) for run in runs if Signals.received is None
    )
    reset_peak(splits.device)
    with Signals(), denormals_as_zero():
        side_by_side(courses, splits.device, at_once)
        Signals.heed()  # it may have come after the last step


def train_seed(
    run: Run,
    splits: Splits,
    store: Store,
    where: Mapping[str, Any],
    snapshots: bool,
    watch: Callable[[dict[str, float]], None],
) -> Generator[None, None, None]:
    """Train a run if the store lacks it, or its snapshots where they are asked for, pausing after each step; `where`
    is written down with it. Where another process trains it, that one is waited for."""
    name = f"{run.arm.name} seed {run.seed}"
    done = False
    with suppress(Damaged):
        done, _ = look_up(run, store, snapshots)
    if not done:
        waiting = f"{name}: another process is training it; waiting for its result"
        with alone(store.lock(run.id), waiting, Signals.heed):
            try:
                done, metrics = look_up(run, store, snapshots)
            except Damaged as error:
                set_aside(store.path(run), str(error))
                metrics = None
            if not done:
                yield from train_alone(run, metrics, splits, store, where, snapshots, watch)
                return
    metrics = store.metrics(run)
    print(f"{name}: cached, {metrics['status']}, test error {metrics['test_error']:.2f} %")


def look_up(run: Run, store: Store, snapshots: bool) -> tuple[bool, dict[str, Any] | None]:
    """Whether the store has all that is asked of a run, and the metrics of what it has. Damaged where a file of it is
    not what was written."""
    metrics = store.verified(run)
    return metrics is not None and not (snapshots and store.lacks_snapshots(run, metrics)), metrics


def train_alone(
    run: Run,
    metrics: Mapping[str, Any] | None,
    splits: Splits,
    store: Store,
    where: Mapping[str, Any],
    snapshots: bool,
    watch: Callable[[dict[str, float]], None],
) -> Generator[None, None, None]:
    """Train a run that no other process is at; `metrics` are those it has, where only snapshots are lacking."""
    arm, seed, device = run.arm, run.seed, splits.device
    progress = Progress(f"{arm.name} seed {seed}", arm.recipe.epochs)
    checkpoints = Checkpoints(store.path(run))
    checkpoints.folder.mkdir(parents=True, exist_ok=True)  # what cannot be written is said before training

    def report(row: dict[str, float]) -> None:
        progress(row)
        watch(row)

    trained, lacking = None, ""
    try:
        kept = Snapshots(checkpoints.folder) if snapshots else None
        trained = yield from course(run, splits, report, checkpoints, kept)
    except (torch.OutOfMemoryError, MemoryError) as error:
        lacking = str(error).partition("\n")[0]
    if trained is None:  # raised out here, the error does not hold on to the run's memory
        raise OutOfMemory(
            f"{arm.name} seed {seed}, batch_size {arm.recipe.batch_size}, on {device}: out of memory ({lacking}). "
            "Give a smaller batch_size or network, or let fewer runs share the device (--at-once, --runs-per-gpu)"
        )
    weights = safetensors.torch.save(trained.weights)
    told = {**where, "execution": trained.execution}
    again = metrics is not None and f"{arm.name} seed {seed}: trained again for its snapshots, "
    if again and hashlib.sha256(weights).hexdigest() == store.digest(run.id, WEIGHTS):
        print(f"{again}to the same weights; the run stays as it was", flush=True)
        store.add(run, weights, trained.snapshots)
    else:
        if again:
            print(
                f"{again}to other weights than it had; this training takes the place of the other", flush=True
            )
        store.save(run, trained.metrics, trained.history, weights, told, trained.snapshots)
    checkpoints.clear()
    progress.finish(trained.metrics)
