"""A training job: those runs of an arm that the store lacks, one after another, and the arm's table."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

import safetensors.torch
import torch

from ablations.data import Prepared
from ablations.plan import Arm, Run
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


class Progress:
    """A line an epoch; on a terminal each one replaces the last."""

    def __init__(self, name: str, epochs: int):
        self.name, self.epochs, self.started = name, epochs, time.perf_counter()
        self.live = sys.stdout.isatty()

    def __call__(self, row: dict[str, float]) -> None:
        left = (time.perf_counter() - self.started) * (self.epochs / row["epoch"] - 1)
        line = (
            f"{self.name}  epoch {row['epoch']:>{len(str(self.epochs))}}/{self.epochs}  loss {row['running_loss']:.3f}"
            f"  error train {row['train_error']:.1f} % validation {row['validation_error']:.1f} %"
            f"  {row['images_per_second']:,.0f} images/s  {duration(left)} left"
        )
        print(f"\r\033[K{line}" if self.live else line, end="" if self.live else "\n", flush=True)

    def finish(self, metrics: dict[str, Any]) -> None:
        line = (
            f"{self.name}: {metrics['status']} after {metrics['epochs_trained']} epochs in {duration(metrics['seconds'])}, "
            f"error train {metrics['train_error']:.2f} % test {metrics['test_error']:.2f} %"
        )
        print(f"\r\033[K{line}" if self.live else line, flush=True)


def duration(seconds: float) -> str:
    """`48 s`, `3 min 20 s`, `2 h 05 min`."""
    seconds = round(seconds)
    if seconds < 100:
        return f"{seconds} s"
    if seconds < 6000:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
