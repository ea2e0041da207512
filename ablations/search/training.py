"""The runs of trials: trained like any other, kept by content, stopped where a trial is pruned."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import optuna
import torch

from ablations.cost import count
from ablations.errors import UserError
from ablations.locks import alone
from ablations.plan import Arm, Run
from ablations.store import Damaged, Store
from ablations.training.checkpoint import Checkpoints
from ablations.training.evaluation import Splits
from ablations.training.job import train_arm


class Runs:
    """Trains the runs of trials on prepared data, by the key of each arm's, into a store."""

    def __init__(self, splits: Mapping[str, Splits], store: Store):
        self.splits, self.store = splits, store

    def run(self, arm: Arm, seed: int) -> Run:
        """The run of an arm with a seed."""
        return Run(arm, seed, self.splits[arm.data_key].data.fingerprint)

    def id_of(self, arm: Arm, seed: int) -> str:
        """The id of a run."""
        return self.run(arm, seed).id

    def error_of(self, arm: Arm, seed: int, after_epoch: Callable[[int, float], None]) -> float:
        """The validation error of a run in percent, trained where the store lacks it. `after_epoch` is told that of
        each epoch, and may raise what stops the run: nothing of it is kept then. UserError where it cannot be
        trained."""
        run = self.run(arm, seed)
        with alone(
            self.store.lock(run.id), f"{run.id}: another worker is training it; waiting for its result"
        ):
            metrics = None
            with suppress(Damaged):  # it is trained anew
                metrics = self.store.verified(run)
            if metrics is None:

                def watch(row: Mapping[str, float]) -> None:
                    after_epoch(int(row["epoch"]), row["validation_error"])

                # Of a worker that was killed: its epochs are this trial's, too, and pruners compare all of them.
                begun = Checkpoints(self.store.path(run)).load(torch.device("cpu")) or {"history": []}
                try:
                    for row in begun["history"]:
                        watch(row)
                    train_arm(arm, [seed], self.splits[arm.data_key], self.store, watch=watch)
                except (optuna.TrialPruned, UserError):
                    forget(self.store.path(run))
                    raise
                return self.store.metrics(run)["validation_error"]
        history = self.store.file(run.id, "history.csv").decode()
        for row in csv.DictReader(io.StringIO(history)):
            after_epoch(int(row["epoch"]), float(row["validation_error"]))
        return metrics["validation_error"]

    def macs_of(self, arm: Arm) -> int:
        """Multiply-adds of an image."""
        data = self.splits[arm.data_key].data
        return count(arm.model, data.shape, len(data.classes)).macs


def forget(folder: Path) -> None:
    """Remove what a run that was stopped has left."""
    Checkpoints(folder).clear()
    with suppress(OSError):  # set aside there by someone: it stays
        folder.rmdir()
