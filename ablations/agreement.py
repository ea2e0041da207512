"""Two trainings of one run: where they differ. What they learnt is the same to the bit in one environment; what they
took of the machine never is. No torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablations.config import METRICS, named

# Of metrics and history: different at each training, whatever was learnt.
OF_THE_MACHINE = ("images_per_second", "seconds", "peak_memory_mb")
# What of an environment can change the last bits, as `ablations.training.environment` writes it down.
DECISIVE = ("device_type", "device", "threads", "torch", "cuda", "platform")
MAIN = ("test_error", "validation_error", "train_error", "test_loss", "train_loss")


@dataclass(frozen=True)
class Outcome:
    """What a training came to, and where: `history` a row an epoch, its numbers as written; `weights` their SHA-256."""

    metrics: Mapping[str, Any]
    history: list[dict[str, str]]
    weights: str | None
    environment: Mapping[str, Any]

    @classmethod
    def of(cls, files: Mapping[str, bytes], weights: str | None) -> Outcome:
        """From the files of a run, by name."""
        history = csv.DictReader(io.StringIO(files["history.csv"].decode()))
        metrics, environment = (json.loads(files[f"{name}.json"]) for name in ("metrics", "environment"))
        return cls(metrics, list(history), weights, environment)


OUTCOME = ("environment.json", "history.csv", "metrics.json")  # the files it is read from


@dataclass(frozen=True)
class Difference:
    """A number that two trainings do not share."""

    what: str
    a: Any
    b: Any

    def __str__(self) -> str:
        return f"{self.what}: {self.a} and {self.b}"


def first_difference(a: Outcome, b: Outcome) -> Difference | None:
    """The first thing that was learnt differently, in the order in which it was: history, metrics, weights; None where
    all is the same to the bit. What only one of them has written down counts for nothing."""
    for rows in zip(a.history, b.history, strict=False):
        for column in shared(*rows):
            if rows[0][column] != rows[1][column]:
                return Difference(f"{column} of epoch {rows[0].get('epoch')}", *(row[column] for row in rows))
    if len(a.history) != len(b.history):
        return Difference("epochs in the history", len(a.history), len(b.history))
    for name in shared(a.metrics, b.metrics):
        if a.metrics[name] != b.metrics[name]:
            return Difference(name, a.metrics[name], b.metrics[name])
    if a.weights != b.weights:
        return Difference("SHA-256 of the weights", a.weights, b.weights)
    return None


def shared(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What both have, but for what depends on the machine."""
    return [name for name in a if name in b and name not in OF_THE_MACHINE]


def apart(a: Outcome, b: Outcome) -> list[str]:
    """What of their environments can change the last bits, and is not the same."""
    return [name for name in DECISIVE if a.environment.get(name) != b.environment.get(name)]


def side_by_side(a: Outcome, b: Outcome, names: tuple[str, str]) -> list[str]:
    """The main metrics and the environments of two trainings, under the names given to them, in lines."""
    rows = [
        ("", *names),
        *((told(name), *(number(name, each.metrics.get(name)) for each in (a, b))) for name in MAIN),
    ]
    for name in ("status", "epochs_trained"):
        rows.append((name.replace("_", " "), *(str(each.metrics.get(name)) for each in (a, b))))
    for name in dict.fromkeys((*DECISIVE, "execution", "python", "packages", "commit")):
        values = [each.environment.get(name) for each in (a, b)]
        if values != [None, None]:
            rows.append((name.replace("_", " "), *map(str, values)))
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return [f"    {row[0]:<{first}}  {row[1]:<{second}}  {row[2]}".rstrip() for row in rows]


def told(metric: str) -> str:
    """A metric's name."""
    return named(metric)[0]


def number(metric: str, value: Any) -> str:
    """A metric's value with its unit."""
    if not isinstance(value, int | float):
        return str(value)
    unit = METRICS[metric].partition(" (")[2].removesuffix(")")
    return f"{value:.4f} {unit}".rstrip()
