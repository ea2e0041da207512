"""The runs that are finished: results/runs/<id>/ with config.json, environment.json, history.csv, metrics.json,
weights.safetensors, of some runs snapshot-<epoch>.safetensors, and, written last, SHA256SUMS over them, as
`sha256sum --check` reads it. No torch."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
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


WEIGHTS = "weights.safetensors"
# What a finished run's folder holds beside SHA256SUMS, and snapshots where they are asked for.
FILES = ("config.json", "environment.json", "history.csv", "metrics.json", WEIGHTS)


def snapshot(epoch: int) -> str:
    """The file with the weights that a run had after an epoch."""
    return f"snapshot-{epoch}.safetensors"


def snapshot_epochs(epochs: int) -> list[int]:
    """The epochs after which a run of so many keeps a snapshot: 1, 2, 4, ... below them."""
    return [2**power for power in range((epochs - 1).bit_length())]


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
        folder, sums = self.folder / run, self.sums(run)
        if sums is None:
            return None
        try:
            content = (folder / name).read_bytes()
        except FileNotFoundError:
            raise Damaged(f"{folder / name}: missing") from None
        if hashlib.sha256(content).hexdigest() != sums.get(name):
            raise Damaged(f"{folder / name}: its content does not match {SUMS}")
        return content

    def sums(self, run: str) -> dict[str, str] | None:
        """The SHA-256 of each file of the run of this id, by its name; None where the run is not finished. Damaged
        where they cannot be read."""
        path = self.folder / run / SUMS
        try:
            return dict(reversed(line.split("  ", 1)) for line in path.read_text().splitlines())
        except FileNotFoundError:
            return None
        except ValueError:
            raise Damaged(f"{path}: damaged") from None

    def snapshots(self, run: str) -> list[int]:
        """The epochs whose weights the finished run of this id has kept, in their order."""
        found = (re.fullmatch(r"snapshot-(\d+)\.safetensors", name) for name in self.sums(run) or ())
        return sorted(int(match[1]) for match in found if match)

    def verified(self, run: Run) -> dict[str, Any] | None:
        """The metrics of a finished run, all its files read and checked; None where it is not finished. Damaged
        where one of them is not what was written."""
        for name in dict.fromkeys((*FILES, *(self.sums(run.id) or ()))):
            if self.file(run.id, name) is None:
                return None
        return self.metrics(run)

    def lacks_snapshots(self, run: Run, metrics: Mapping[str, Any]) -> bool:
        """Whether a finished run with these metrics has not kept the weights of its epochs."""
        return self.snapshots(run.id) != snapshot_epochs(metrics["epochs_trained"])

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
        snapshots: Mapping[int, str] = {},
    ) -> None:
        """Write a run; it counts as finished once SHA256SUMS is there. Its snapshots lie in its folder already, here
        are their SHA-256 by epoch."""
        folder = self.path(run)
        (folder / SUMS).unlink(missing_ok=True)  # of a run that is replaced: half of it is no run
        told = (json_bytes(run.config), json_bytes(environment), table(history).encode(), json_bytes(metrics))
        contents = dict(zip(FILES, (*told, weights), strict=True))
        for name, content in contents.items():
            write_bytes(folder / name, content)
        self.seal(
            run, {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}, snapshots
        )

    def add(self, run: Run, snapshots: Mapping[int, str]) -> None:
        """Count snapshots that lie in the folder of a finished run, SHA-256 by epoch, among its files."""
        self.seal(run, {name: self.sums(run.id)[name] for name in FILES}, snapshots)

    def seal(self, run: Run, sums: Mapping[str, str], snapshots: Mapping[int, str]) -> None:
        """Write SHA256SUMS."""
        every = {**sums, **{snapshot(epoch): digest for epoch, digest in snapshots.items()}}
        write_text(self.path(run) / SUMS, "".join(f"{digest}  {name}\n" for name, digest in every.items()))


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV; numbers with all their digits, None as an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
