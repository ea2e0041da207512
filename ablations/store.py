"""The runs that are finished: results/runs/<id>/ with config.json, environment.json, history.csv,
weights.safetensors and, written last, metrics.json. No torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ablations.data import Header
from ablations.errors import UserError
from ablations.files import write_bytes, write_json, write_text
from ablations.plan import Arm, Run

# Columns of the table of runs that come from a run's environment.
ENVIRONMENT = ("device", "threads", "torch", "python", "packages", "commit", "dirty")


class Store:
    """Runs by their content id, below a folder of results."""

    def __init__(self, results: Path):
        self.folder = results / "runs"

    def path(self, run: Run) -> Path:
        """The folder of a run."""
        return self.folder / run.id

    def metrics(self, run: Run) -> dict[str, Any] | None:
        """What a finished run measured; None where it is not finished. UserError where the store holds the
        run's id with another configuration: then a default was changed without a new engine version."""
        metrics = read_json(self.path(run) / "metrics.json")
        if metrics is None:
            return None
        stored = read_json(self.path(run) / "config.json") or {}
        for part in ("model", "recipe"):
            for key, value in stored.get(part, {}).items():
                asked = run.config[part].get(key, value)
                if asked != value:
                    raise UserError(
                        f"{self.path(run)}: trained with {part}.{key} = {value}, now {asked} is asked for under "
                        "the same id; delete this folder to train it anew"
                    )
        return metrics

    def rows(self, arm: Arm, seeds: Iterable[int], header: Header) -> list[dict[str, Any]]:
        """Rows of the table of runs for the finished runs of an arm: metrics, sizes of the data, environment."""
        rows = []
        for seed in seeds:
            run = Run(arm, seed, header.fingerprint)
            metrics = self.metrics(run)
            if metrics is not None:
                where = read_json(self.path(run) / "environment.json") or {}
                sizes = {f"{name}_images": count for name, count in header.sizes.items()}
                told = {column: where.get(column) for column in ENVIRONMENT}
                rows.append({"run": run.id, "arm": arm.id, "seed": seed, **metrics, **sizes, **told})
        return rows

    def save(
        self,
        run: Run,
        metrics: Mapping[str, Any],
        history: list[dict[str, float]],
        weights: bytes,
        environment: Mapping[str, Any],
    ) -> None:
        """Write a run; it counts as finished once metrics.json is there."""
        folder = self.path(run)
        write_json(folder / "config.json", run.config)
        write_json(folder / "environment.json", environment)
        write_text(folder / "history.csv", table(history))
        write_bytes(folder / "weights.safetensors", weights)
        write_json(folder / "metrics.json", metrics)


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a file of ours; None where it is missing. UserError where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete its folder to train the run anew") from None


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV; numbers with all their digits, None as an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
