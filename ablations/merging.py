"""The runs in archives of other machines, merged into the store. No torch."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ablations import layout
from ablations.agreement import OUTCOME, Outcome, first_difference, side_by_side
from ablations.archive import RUNS, Archive, ExportedRun, digest_of, printable
from ablations.data import read_header
from ablations.errors import UserError
from ablations.files import set_aside
from ablations.locks import alone
from ablations.plan import ENGINE_VERSION, run_of
from ablations.progress import many
from ablations.schema import shown
from ablations.store import (
    FILES,
    GENERATIONS,
    HISTORY,
    LEFT_OUT,
    SNAPSHOT,
    WEIGHTS,
    Damaged,
    Store,
    is_weights,
    read_sums,
    sums_text,
)

# What becomes of a run of an archive.
IMPORTED, COMPLETED, HERE, CONFLICT, REFUSED = "imported", "completed", "here", "conflict", "refused"


def import_archives(paths: Sequence[Path], any_engine: bool) -> Counter[str]:
    """Merge the runs of archives into the store, and count what became of them. All archives are read and checked before
    anything is written. UserError where one cannot be used, or is of another engine version and that is not allowed."""
    try:
        archives = [Archive(path) for path in paths]
        for archive in archives:
            fits(archive, any_engine)
    except UserError as error:
        raise UserError(f"{error}\nNothing was imported.") from None
    store, outcomes = Store(layout.RESULTS), Counter()
    for archive in archives:
        tell(archive)
        for run, files in runs_in(archive):
            outcomes[merge(archive, run, files, store)] += 1
    return outcomes


def fits(archive: Archive, any_engine: bool) -> None:
    """UserError where the runs of an archive are of another engine version, or its files are of runs that it does not
    list."""
    listed = [run.id for run in archive.manifest.runs]
    found = {run_id(member.name) for member in archive.manifest.files} - {None}
    if found != set(listed) or len(found) < len(listed):
        raise archive.refused("the runs that it lists are not those that it holds")
    engine = archive.manifest.engine
    if engine != ENGINE_VERSION and not any_engine:
        raise UserError(
            f"{archive.path}: its runs were trained by engine version {engine}, this is version {ENGINE_VERSION}: the same "
            "network, recipe, data and seed give other numbers, and such runs have other ids. Reports of this version never "
            f"use them; --any-engine stores them all the same, for version {engine} to report. To have both in one report, "
            "train them again here."
        )


def run_id(name: str) -> str | None:
    """The id of the run that a file in an archive belongs to; None where it is no file of a run."""
    path = PurePosixPath(name)
    return path.parent.name if str(path.parent.parent) == RUNS else None


def runs_in(archive: Archive) -> Iterator[tuple[ExportedRun, dict[str, bytes]]]:
    """The runs of an archive with the content of their files, by name."""
    runs = {run.id: run for run in archive.manifest.runs}
    for run, members in itertools.groupby(archive.members("importing"), lambda member: run_id(member[0])):
        if run is not None:
            yield runs[run], {PurePosixPath(name).name: content for name, content in members}


def tell(archive: Archive) -> None:
    """What an archive holds, and which of its runs no plan will ask for here."""
    about = archive.manifest
    where = "; ".join(f"{each.runs} on {each.device}, torch {each.torch}" for each in about.environments)
    print(
        f"{archive.path}: {many(len(about.runs), 'run')} of suite {about.suite} ({', '.join(about.studies)}), made "
        f"{about.created} by ablations {about.package}; {where}"
    )
    if about.engine != ENGINE_VERSION:
        print(
            f"  of engine version {about.engine}: stored, and used by no report of this version, {ENGINE_VERSION}"
        )
    for data in about.data:
        header = None
        with contextlib.suppress(UserError):  # damaged: made anew
            header = read_header(layout.data(data.key))
        if header is not None and header.fingerprint != data.fingerprint:
            count = sum(run.fingerprint == data.fingerprint for run in about.runs)
            print(
                f"  {layout.data(data.key)} is not the data of {many(count, 'run')} of it (other fingerprints: another "
                "version of a library prepared them?): stored, and not used as long as the data differ"
            )


def merge(archive: Archive, run: ExportedRun, files: Mapping[str, bytes], store: Store) -> str:
    """Put a run into the store, unless it is there; what became of it. It is there whole or not at all, whatever ends
    this, and however many imports do the same at once."""
    name, folder = f"{run.network} seed {run.seed} ({run.id})", store.folder / run.id
    if reason := unfit(archive, run, files):
        print(f"refused: {name}: {printable(reason)}", flush=True)
        return REFUSED
    with alone(store.lock(run.id), f"{name}: another process is at it; waiting"):
        try:
            here = store.check(run.id)
        except Damaged as error:
            set_aside(folder, str(error))
        else:
            if not here:
                store.write(run.id, files)
                for checkpoint in GENERATIONS:  # of a training that was not finished here
                    (folder / checkpoint).unlink(missing_ok=True)
                return IMPORTED
            return compared(archive, run, name, files, store)
    return merge(archive, run, files, store)


def compared(archive: Archive, run: ExportedRun, name: str, files: Mapping[str, bytes], store: Store) -> str:
    """What becomes of a run that the store has: it stays as it is, and gets the weights that it lacks."""
    sums, elsewhere = store.sums(run.id), store.left_out(run.id)
    here = Outcome.of({each: store.file(run.id, each) for each in OUTCOME}, store.digest(run.id, WEIGHTS))
    there = Outcome.of(files, digests_of(files)[WEIGHTS])
    if difference := first_difference(here, there):
        print(f"conflict: {name}: the run here stays; it differs first in {difference}")
        print("\n".join(side_by_side(here, there, ("here", str(archive.path)))), flush=True)
        return CONFLICT
    new = {each: content for each, content in files.items() if is_weights(each) and each not in sums}
    if not new or any(
        digest_of(content) != elsewhere.get(each, digest_of(content)) for each, content in new.items()
    ):
        return HERE
    left = {each: digest for each, digest in elsewhere.items() if each not in new}
    kept = {each: digest for each, digest in sums.items() if each != LEFT_OUT}
    store.write(run.id, new, kept)
    if left:  # after the others: killed in between, the run is whole, and only does not know what it lacks
        store.write(run.id, {LEFT_OUT: sums_text(left).encode()}, store.sums(run.id))
    return COMPLETED


def digests_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of a run's files, here or elsewhere. ValueError where the list of the others cannot be read."""
    return read_left_out(files) | {name: digest_of(content) for name, content in files.items()}


def read_left_out(files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of what was left out of a run's files. ValueError where they cannot be read."""
    sums = read_sums(files.get(LEFT_OUT, b"").decode())
    for digest in sums.values():
        if len(bytes.fromhex(digest)) != 32:
            raise ValueError(f"{LEFT_OUT} has no SHA-256")
    return sums


def unfit(archive: Archive, run: ExportedRun, files: Mapping[str, bytes]) -> str | None:
    """Why a run of an archive cannot be used; None where it can."""
    try:
        every = digests_of(files)
        if unknown := [
            name for name in files if name not in (*FILES, LEFT_OUT) and not SNAPSHOT.fullmatch(name)
        ]:
            return f"{unknown[0]} is no file of a run"
        if missing := [name for name in FILES if name not in every]:
            return f"{missing[0]} is missing"
        if odd := [name for name in read_left_out(files) if name in files or not is_weights(name)]:
            return f"{odd[0]} is not to be left out"
        config = json.loads(files["config.json"])
        if config["engine"] != archive.manifest.engine or config["seed"] != run.seed:
            return "config.json is not what the manifest says"
        if config["engine"] == ENGINE_VERSION and (found := run_of(config).id) != run.id:
            return f"its config.json is that of the run {found}"
        return wrong_numbers(Outcome.of(files, None))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        return f"its files cannot be read ({error})"


def wrong_numbers(outcome: Outcome) -> str | None:
    """Why metrics, history or environment are not those of a run; None where they are."""
    errors = [f"{part}_{kind}" for part in ("train", "validation", "test") for kind in ("error", "loss")]
    measured = {
        *errors,
        "epochs_trained",
        "measured_epoch",
        "sparsity",
        "seconds",
        "images_per_second",
        "peak_memory_mb",
    }
    if other := sorted(outcome.metrics.keys() ^ {"status", *measured}):
        return f"metrics.json: {other[0]} is {'missing' if other[0] not in outcome.metrics else 'no metric of a run'}"
    for name in measured:
        value = outcome.metrics[name]
        if not is_number(value) or not math.isfinite(value):
            return f"metrics.json: {name} is no number"
        if value < 0 or (value > 100 and name.endswith("_error")):
            return f"metrics.json: {name} is {shown(value)}"
    if outcome.metrics["status"] not in ("finished", "diverged"):
        return f"metrics.json: status is {shown(outcome.metrics['status'])}"
    if lacking := [
        name for name in ("device", "device_type", "threads", "at_once") if name not in outcome.environment
    ]:
        return f"environment.json: {lacking[0]} is missing"
    for name in ("threads", "at_once"):
        count = outcome.environment[name]
        if not (is_number(count) and isinstance(count, int) and count > 0):
            return f"environment.json: {name} is {shown(count)}"
    if outcome.metrics["epochs_trained"] != len(outcome.history) or not outcome.history:
        return (
            f"history.csv has {len(outcome.history)} epochs, metrics.json {outcome.metrics['epochs_trained']}"
        )
    for value in (value for row in outcome.history for value in row.values()):
        float(value)
    if odd := set(HISTORY) ^ outcome.history[0].keys():
        return f"history.csv: the column {min(odd)} is missing or not of a run"
    for name, value in outcome.environment.items():
        if not isinstance(value, str | int | float | None) or str(value) != printable(str(value)):
            return f"environment.json: {name} is {shown(value)}"
    return None


def is_number(value: object) -> bool:
    """Whether a value of JSON is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def told(outcomes: Counter[str]) -> str:
    """What became of the runs, in a sentence; what happened to none is left out, but for the first."""
    conflicts = f"{outcomes[CONFLICT]} conflict{'' if outcomes[CONFLICT] == 1 else 's'}"
    were = "was" if outcomes[HERE] == 1 else "were"
    parts = {
        IMPORTED: f"imported {many(outcomes[IMPORTED], 'run')}",
        COMPLETED: f"completed {outcomes[COMPLETED]} with weights",
        HERE: f"{outcomes[HERE]} {were} here already",
        CONFLICT: conflicts,
        REFUSED: f"{outcomes[REFUSED]} refused",
    }
    return ", ".join(part for each, part in parts.items() if outcomes[each] or each == IMPORTED)
