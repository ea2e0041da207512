"""Whether what is stored is still what was written: runs against their checksums and their ids, prepared data against
their fingerprints, tables against the runs. No torch."""

from __future__ import annotations

import contextlib
import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablations import data, layout
from ablations.config import TUNED, Library
from ablations.errors import UserError
from ablations.plan import ENGINE_VERSION, Arm, Plan, Run, make_plan, run_of
from ablations.progress import Share, many
from ablations.store import LEFT_OUT, Damaged, Store, runs_of


@dataclass(frozen=True)
class Fault:
    """Something that is not what was written, and what mends it."""

    what: str
    mend: str


@dataclass
class Checked:
    """What was looked at, in sentences; the faults; and the runs that are as they were written, by id."""

    counts: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = "".join(f"\n\n{fault.what}\n    mend it by: {fault.mend}" for fault in self.faults)
        number = f"{many(len(self.faults), 'fault')}:" if self.faults else "No faults."
        return "\n".join([*self.counts, number + found])


def verify(library: Library, suite: str | None, study: str | None) -> Checked:
    """Check the runs, data and tables of a study, of all studies of a suite, or, without a suite, whatever is stored.
    UserError where there is no such suite or study."""
    checked, store = Checked(), Store(layout.RESULTS)
    plans = list(plans_with_results(library, checked)) if suite is None else [make_plan(library, suite)]
    studies = {plan.suite_name: [study] if study else plan.with_tuned for plan in plans}
    if suite is None:
        keys = sorted(path.stem for path in layout.data("any").parent.glob("*.safetensors"))
    else:
        arms = (arm for name in studies[suite] for arm in plans[0].study(name).arms.values())
        keys = list(dict.fromkeys(arm.data_key for arm in arms))
    check_data([key for key in keys if layout.data(key).is_file()], library, checked)
    trains = {run: command for plan in plans for run, command in commands(plan, studies[plan.suite_name])}
    check_runs(store, [run for run in store.ids() if suite is None or run in trains], trains, checked)
    for plan in plans:
        check_tables(plan, studies[plan.suite_name], store, checked)
    return checked


def plans_with_results(library: Library, checked: Checked) -> Iterator[Plan]:
    """The plans of all suites that have results; of those whose files cannot be read, that is told."""
    for name in library.names("suites"):
        if (layout.RESULTS / name).is_dir():
            try:
                yield make_plan(library, name)
            except UserError as error:
                checked.counts.append(f"suite {name}: its tables are not checked: {error}")


# ------------------------------------------------------------------------------------------ runs


def commands(plan: Plan, studies: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The runs of studies by id, each with the command that trains it."""
    for name in studies:
        # Where its data are damaged, which is told, no one knows the ids of its runs.
        with contextlib.suppress(UserError):
            for key, seed, run in runs_of(plan.study(name)):
                if run is not None:
                    yield run.id, plan.train_command(name, key, seed)


def check_runs(store: Store, runs: Sequence[str], trains: Mapping[str, str], checked: Checked) -> None:
    """The files of runs against SHA256SUMS, their config.json against their id. `trains`: what trains a run, by id."""
    found, progress = Counter(), Share("runs: checking", len(runs))
    for run in runs:
        progress.add(1)
        folder = store.folder / run
        try:
            if not store.check(run):
                found["not finished"] += 1
                continue
            config = json.loads(store.file(run, "config.json"))
            other = config["engine"] != ENGINE_VERSION
            meant = run if other else run_of(config).id
        except Damaged as error:
            found["damaged"] += 1
            # Training sets a damaged run aside by itself.
            checked.faults.append(Fault(str(error), trains.get(run, f"rm -r {folder}")))
            continue
        except (ValueError, KeyError, TypeError) as error:
            meant = f"none of this version ({error})"
        if meant == run:
            found["whole"] += 1
            found["other"] += other
            found["without"] += LEFT_OUT in store.sums(run)
            checked.runs.append(run)
        else:
            found["damaged"] += 1
            again = f" && {trains[run]}" if run in trains else ""
            checked.faults.append(
                Fault(
                    f"{folder}: its config.json is that of another run, {meant}: it was altered, or a field has another default",
                    f"rm -r {folder}{again}",
                )
            )
    whole = found["whole"]
    told = [f"{many(whole, 'run')} as {'it was' if whole == 1 else 'they were'} written"]
    if found["without"]:
        told[0] += f" ({found['without']:,} without weights)"
    if found["other"]:
        told[0] += f" ({found['other']:,} of other engine versions, whose ids are not checked)"
    told += [f"{found[name]:,} {name}" for name in ("damaged", "not finished") if found[name]]
    aside = len(list(store.folder.glob("*.damaged-*")))
    checked.counts.append(f"{store.folder}: {', '.join(told)}" + (f"; {aside} set aside" if aside else ""))


# ------------------------------------------------------------------------------------------ data


def check_data(keys: Sequence[str], library: Library, checked: Checked) -> None:
    """Prepared files against their fingerprints."""
    extra, whole, progress = extra_of(library, "--extra "), 0, Share("data: checking", len(keys))
    for key in keys:
        try:
            data.read(layout.data(key))
            whole += 1
        except UserError as error:
            path = layout.data(key)
            what = str(error).partition(";")[0]
            checked.faults.append(Fault(what, f"rm {path} && ablations prepare --data {key}{extra}"))
        progress.add(1)
    folder = layout.data("any").parent
    checked.counts.append(f"{folder}: {whole} of {len(keys)} prepared data sets as they were written")


def extra_of(library: Library, option: str) -> str:
    """The folder of the user's own for a command; nothing without one."""
    return f" {option}{library.extra}" if library.extra else ""


# ------------------------------------------------------------------------------------------ tables


def check_tables(plan: Plan, studies: Sequence[str], store: Store, checked: Checked) -> None:
    """The tables of jobs and of studies against the runs in the store."""
    whole = counted = unknown = 0
    for path, study, arms in tables(plan, studies):
        if not path.is_file():
            continue
        rows = rows_of(store, arms)
        if rows is None:
            unknown += 1
            continue
        counted += 1
        if different := first_difference(path, rows):
            checked.faults.append(Fault(f"{path}: {different}", f"rm {path} && {make_command(plan, study)}"))
        else:
            whole += 1
    told = f"suite {plan.suite_name}: {whole} of {counted} tables of runs as the store has them"
    checked.counts.append(told + (f"; {unknown} not checked, without their data" if unknown else ""))


def tables(plan: Plan, studies: Sequence[str]) -> Iterator[tuple[Path, str, list[tuple[Arm, Sequence[int]]]]]:
    """Where each table of runs lies, a study that it is for, and the arms and seeds that are in it."""
    of_jobs = {
        job.name: (job, name) for name in studies if not name.endswith(TUNED) for job in plan.jobs_of(name)
    }
    for job, study in of_jobs.values():
        yield layout.arm_table(plan.suite_name, job.name), study, [(job.arm, job.seeds)]
    for name in studies:
        planned = plan.study(name)
        arms = [(arm, planned.seeds) for arm in planned.arms.values()]
        yield layout.study_table(plan.suite_name, name, "runs"), name, arms


def rows_of(
    store: Store, arms: Iterable[tuple[Arm, Sequence[int]]]
) -> dict[str, dict[str, Any] | None] | None:
    """What the store has for a table, by run; None for a run that is damaged, and for all where data are not there."""
    rows: dict[str, dict[str, Any] | None] = {}
    for arm, seeds in arms:
        try:
            header = data.read_header(layout.data(arm.data_key))
        except UserError:  # among the faults of the data
            return None
        if header is None:
            return None
        for seed in seeds:
            try:
                rows |= {row["run"]: row for row in store.rows(arm, [seed], header)}
            except UserError:  # among the faults of the runs
                rows[Run(arm, seed, header.fingerprint).id] = None
    return rows


def first_difference(path: Path, rows: Mapping[str, Mapping[str, Any] | None]) -> str | None:
    """Where a table first differs from the store; None where it does not."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = {row["run"]: row for row in csv.DictReader(file)}
    except (KeyError, ValueError, csv.Error) as error:
        return f"damaged ({error})"
    for run in table.keys() - rows.keys():
        return f"it has run {run}, which is not in the store"
    for run, row in rows.items():
        if row is None:
            continue
        if run not in table:
            return f"it lacks run {run}, seed {row['seed']}, which is in the store"
        for column, value in row.items():
            cell = table[run].get(column)
            if cell is not None and not same(cell, value):
                return f"run {run}, seed {row['seed']}: {column} is {cell}, in the store {value}"
    return None


def same(cell: str, value: Any) -> bool:
    """Whether a cell of a table is a value, to the last digit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(cell) == value
        except ValueError:
            return False
    return cell == ("" if value is None else str(value))


def make_command(plan: Plan, study: str) -> str:
    """What makes the tables and the report of a study."""
    searched = study.removesuffix(TUNED)
    target, chosen = ("search", f" study={searched}") if study.endswith(TUNED) else (study, "")
    extra = extra_of(plan.library, "extra=")
    return f"snakemake {target} --cores all --config suite={plan.suite_name}{chosen}{extra}"
