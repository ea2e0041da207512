"""The runs that are finished: results/runs/<id>/ with config.json, environment.json, history.csv, metrics.json,
weights.safetensors, of some runs snapshot-<epoch>.safetensors, and, written last, SHA256SUMS over them, as
`sha256sum --check` reads it. A run that came from elsewhere without its weights has left-out.sha256 in their place:
the SHA-256 of each file that stayed behind. No torch."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ablations import layout
from ablations.data import Header, read_header
from ablations.errors import UserError
from ablations.files import json_bytes, write_bytes, write_text
from ablations.plan import Arm, PlannedStudy, Run

SUMS = "SHA256SUMS"
# Columns of the table of runs that come from a run's environment.
ENVIRONMENT = (
    *("device", "threads", "execution", "at_once"),
    *("torch", "python", "packages", "commit", "dirty"),
)


WEIGHTS = "weights.safetensors"
# What a finished run's folder holds beside SHA256SUMS, and snapshots where they are asked for.
FILES = ("config.json", "environment.json", "history.csv", "metrics.json", WEIGHTS)
# What is measured of each epoch.
HISTORY = (
    *("epoch", "step", "learning_rate", "running_loss"),
    *("train_loss", "train_error", "validation_loss", "validation_error"),
    *("gradient_norm", "images_per_second", "seconds"),
)
LEFT_OUT = "left-out.sha256"  # of a run without weights, or without its snapshots
GENERATIONS = ("checkpoint", "checkpoint.before")  # of a run that is not finished

ID = re.compile("[0-9a-f]{16}")
SNAPSHOT = re.compile(r"snapshot-(\d+)\.safetensors")


def snapshot(epoch: int) -> str:
    """The file with the weights that a run had after an epoch."""
    return f"snapshot-{epoch}.safetensors"


def snapshot_epochs(epochs: int) -> list[int]:
    """The epochs after which a run of so many keeps a snapshot: 1, 2, 4, ... below them."""
    return [2**power for power in range((epochs - 1).bit_length())]


class Damaged(UserError):
    """A file of a finished run is not what was written."""


def sums_text(sums: Mapping[str, str]) -> str:
    """SHA-256 by file name, as `sha256sum --check` reads it."""
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def read_sums(text: str) -> dict[str, str]:
    """The same back. ValueError where it is something else."""
    return dict(reversed(line.split("  ", 1)) for line in text.splitlines())


class Store:
    """Runs by their content id, below a folder of results."""

    def __init__(self, results: Path):
        self.folder, self.locks = results / "runs", results / "locks"

    def ids(self) -> list[str]:
        """The ids of the runs that have a folder here, finished or not, sorted."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(path.name for path in found if ID.fullmatch(path.name))

    def path(self, run: Run) -> Path:
        """The folder of a run."""
        return self.folder / run.id

    def lock(self, run: str) -> Path:
        """The lock file of the run of this id, for the process that trains or imports it."""
        return self.locks / run

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
        except IsADirectoryError:
            raise Damaged(f"{folder / name}: a folder, no file") from None
        if hashlib.sha256(content).hexdigest() != sums.get(name):
            raise Damaged(f"{folder / name}: its content does not match {SUMS}")
        return content

    def sums(self, run: str) -> dict[str, str] | None:
        """The SHA-256 of each file of the run of this id, by its name; None where the run is not finished. Damaged
        where they cannot be read."""
        path = self.folder / run / SUMS
        try:
            return read_sums(path.read_text())
        except FileNotFoundError:
            return None
        except (ValueError, IsADirectoryError):
            raise Damaged(f"{path}: damaged") from None

    def left_out(self, run: str) -> dict[str, str]:
        """The SHA-256 of each file that the finished run of this id has where it was trained, and not here."""
        if LEFT_OUT not in (self.sums(run) or ()):
            return {}
        try:
            return read_sums(self.file(run, LEFT_OUT).decode())
        except ValueError:
            raise Damaged(f"{self.folder / run / LEFT_OUT}: damaged") from None

    def digest(self, run: str, name: str) -> str | None:
        """The SHA-256 of a file of the finished run of this id, here or elsewhere; None where it has no such file."""
        return {**self.left_out(run), **self.sums(run)}.get(name)

    def snapshots(self, run: str) -> list[int]:
        """The epochs whose weights lie here of the finished run of this id, in their order."""
        return epochs_of(self.sums(run) or ())

    def check(self, run: str) -> bool:
        """Read and check all files of the run of this id; False where it is not finished. Damaged where one of them
        is not what was written."""
        sums = self.sums(run)
        if sums is None:
            return False
        elsewhere = self.left_out(run)
        for name in dict.fromkeys((*(name for name in FILES if name not in elsewhere), *sums)):
            self.file(run, name)
        return True

    def verified(self, run: Run) -> dict[str, Any] | None:
        """The metrics of a finished run, all its files read and checked; None where it is not finished. Damaged
        where one of them is not what was written."""
        return self.metrics(run) if self.check(run.id) else None

    def lacks_snapshots(self, run: Run, metrics: Mapping[str, Any]) -> bool:
        """Whether a finished run with these metrics has not kept the weights of its epochs, here or elsewhere."""
        kept = epochs_of((*(self.sums(run.id) or ()), *self.left_out(run.id)))
        return kept != snapshot_epochs(metrics["epochs_trained"])

    def metrics(self, run: Run) -> dict[str, Any] | None:
        """What a finished run measured; None where it is not finished. Damaged where it cannot be read; UserError
        where the store holds the run's id with another configuration: then a default was changed without a new
        engine version, or a run of another one was put there."""
        metrics = self.file(run.id, "metrics.json")
        if metrics is None:
            return None
        stored = json.loads(self.file(run.id, "config.json"))
        if stored.get("engine") != run.config["engine"]:
            raise UserError(
                f"{self.path(run)}: trained by engine version {stored.get('engine')}, this is {run.config['engine']}; delete "
                "this folder to train it anew"
            )
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
        (self.path(run) / SUMS).unlink(missing_ok=True)  # of a run that is replaced: half of it is no run
        told = (json_bytes(run.config), json_bytes(environment), table(history).encode(), json_bytes(metrics))
        self.write(run.id, dict(zip(FILES, (*told, weights), strict=True)), by_name(snapshots))

    def add(self, run: Run, weights: bytes, snapshots: Mapping[int, str]) -> None:
        """Count snapshots that lie in the folder of a finished run, SHA-256 by epoch, among its files; and its
        weights, where they were left out."""
        sums = self.sums(run.id)
        here = {name: sums[name] for name in FILES if name in sums}
        missing = {} if WEIGHTS in sums else {WEIGHTS: weights}
        self.write(run.id, missing, {**here, **by_name(snapshots)})

    def write(self, run: str, contents: Mapping[str, bytes], there: Mapping[str, str] = {}) -> None:
        """Write files of the run of this id, and SHA256SUMS over them and the files that are there already, whose
        SHA-256 is given: from then on it is finished."""
        folder = self.folder / run
        for name, content in contents.items():
            write_bytes(folder / name, content)
        written = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        write_text(folder / SUMS, sums_text(written | {k: v for k, v in there.items() if k not in written}))
        if LEFT_OUT not in written:
            (folder / LEFT_OUT).unlink(missing_ok=True)


def runs_of(planned: PlannedStudy) -> Iterator[tuple[tuple[str, ...], int, Run | None]]:
    """Every run of a study with the levels of its arm and its seed; None for it where its data are not prepared."""
    headers = {key: read_header(layout.data(key)) for key in {arm.data_key for arm in planned.arms.values()}}
    for key, arm in planned.arms.items():
        header = headers[arm.data_key]
        for seed in planned.seeds:
            yield key, seed, Run(arm, seed, header.fingerprint) if header else None


def is_weights(name: str) -> bool:
    """Whether a file of a run holds weights, its last ones or those of an epoch."""
    return name == WEIGHTS or SNAPSHOT.fullmatch(name) is not None


def by_name(snapshots: Mapping[int, str]) -> dict[str, str]:
    """SHA-256 of snapshots by file name, from those by epoch."""
    return {snapshot(epoch): digest for epoch, digest in snapshots.items()}


def epochs_of(names: Iterable[str]) -> list[int]:
    """The epochs of the snapshots among some files, in their order."""
    return sorted(int(match[1]) for match in map(SNAPSHOT.fullmatch, names) if match)


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV; numbers with all their digits, None as an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
