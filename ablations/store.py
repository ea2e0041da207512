"""The runs that are finished: results/runs/<id>/ with config.json, environment.json, history.csv, metrics.json,
weights.safetensors and, written last, SHA256SUMS over them, as `sha256sum --check` reads it. No torch."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ablations.data import Header
from ablations.errors import UserError
from ablations.files import json_bytes, write_bytes, write_text
from ablations.plan import Arm, Run

SUMS = "SHA256SUMS"
# Columns of the table of runs that come from a run's environment.
ENVIRONMENT = (
    *("device", "threads", "execution", "at_once"),
    *("torch", "python", "packages", "commit", "dirty"),
)


# What a finished run's folder holds beside SHA256SUMS.
FILES = ("config.json", "environment.json", "history.csv", "metrics.json", "weights.safetensors")


class Damaged(UserError):
    """A file of a finished run is not what was written."""


class Store:
    """Runs by their content id, below a folder of results."""

    def __init__(self, results: Path):
        self.folder = results / "runs"

    def path(self, run: Run) -> Path:
        """The folder of a run."""
        return self.folder / run.id

    def file(self, run: str, name: str) -> bytes | None:
        """The content of a file of the run of this id; None where the run is not finished. Damaged where it is not
        what was written."""
        folder = self.folder / run
        try:
            sums = dict(reversed(line.split("  ", 1)) for line in (folder / SUMS).read_text().splitlines())
            content = (folder / name).read_bytes()
        except FileNotFoundError as error:
            if Path(error.filename).name == SUMS:
                return None
            raise Damaged(f"{folder / name}: missing") from None
        except ValueError:
            raise Damaged(f"{folder / SUMS}: damaged") from None
        if hashlib.sha256(content).hexdigest() != sums.get(name):
            raise Damaged(f"{folder / name}: its content does not match {SUMS}")
        return content

    def verified(self, run: Run) -> dict[str, Any] | None:
        """The metrics of a finished run, all its files read and checked; None where it is not finished. Damaged
        where one of them is not what was written."""
        for name in FILES:
            if self.file(run.id, name) is None:
                return None
        return self.metrics(run)

    def metrics(self, run: Run) -> dict[str, Any] | None:
        """What a finished run measured; None where it is not finished. Damaged where it cannot be read; UserError
        where the store holds the run's id with another configuration: then a default was changed without a new
        engine version."""
        metrics = self.file(run.id, "metrics.json")
        if metrics is None:
            return None
        stored = json.loads(self.file(run.id, "config.json"))
        for part in ("model", "recipe"):
            for key, value in stored.get(part, {}).items():
                asked = run.config[part].get(key, value)
                if asked != value:
                    raise UserError(
                        f"{self.path(run)}: trained with {part}.{key} = {value}, now {asked} is asked for under "
                        "the same id; delete this folder to train it anew"
                    )
        return json.loads(metrics)

    def rows(self, arm: Arm, seeds: Iterable[int], header: Header) -> list[dict[str, Any]]:
        """Rows of the table of runs for the finished runs of an arm: metrics, sizes of the data, environment."""
        rows = []
        for seed in seeds:
            run = Run(arm, seed, header.fingerprint)
            metrics = self.metrics(run)
            if metrics is not None:
                where = json.loads(self.file(run.id, "environment.json"))
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
        """Write a run; it counts as finished once SHA256SUMS is there."""
        folder = self.path(run)
        told = (json_bytes(run.config), json_bytes(environment), table(history).encode(), json_bytes(metrics))
        contents = dict(zip(FILES, (*told, weights), strict=True))
        for name, content in contents.items():
            write_bytes(folder / name, content)
        sums = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
        write_text(folder / SUMS, "".join(sums))


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV; numbers with all their digits, None as an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
