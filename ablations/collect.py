"""Runs, histories and costs of a study -> its table of runs and its history. No torch."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pandas as pd

from ablations import layout
from ablations.config import COLUMNS, METRICS
from ablations.data import read_header
from ablations.errors import UserError
from ablations.files import set_aside, write_text
from ablations.locks import alone
from ablations.plan import Plan, PlannedStudy, Run
from ablations.store import FILES, WEIGHTS, Damaged, Store


def collect(plan: Plan, name: str) -> None:
    """Write results/<suite>/<study>/runs.csv, a row a run with its levels, metrics and costs, and history.csv, a
    row an epoch. Runs that are not finished are left out. Damaged ones are set aside, and UserError says so: then the
    workflow trains them anew."""
    planned, store = plan.study(name), Store(layout.RESULTS)
    costs = read_table(layout.study_table(plan.suite_name, name, "cost")).set_index("arm")
    rows, histories = [], {}
    try:
        for key, arm in planned.arms.items():
            header = read_header(layout.data(arm.data_key))
            found = store.rows(arm, planned.seeds, header) if header else []
            rows += [{"network": arm.name, **planned.levels(key), **row} for row in found]
            histories |= {row["run"]: store.file(row["run"], "history.csv") for row in found}
    except Damaged:
        count = set_damaged_aside(plan, planned)
        raise UserError(
            f"{count} damaged run{'s' * (count != 1)} of {name} set aside; the same command again trains what is missing"
        ) from None
    if not rows:
        raise UserError(
            f"study {name}: {store.folder} holds none of its runs; train them with `snakemake {name}` (after "
            f"deleting {layout.RESULTS / plan.suite_name / 'arms'}, if the runs were deleted) or `ablations train`"
        )
    table = pd.DataFrame(rows).join(costs, on="arm")
    history = read_histories(histories)
    table["seconds_to_target"] = table["run"].map(seconds_to_target(history, planned.target_error))
    batch_sizes = {arm.id: arm.recipe.batch_size for arm in planned.arms.values()}
    write_table(with_derived(table, history, batch_sizes), layout.study_table(plan.suite_name, name, "runs"))
    write_table(history, layout.study_table(plan.suite_name, name, "history"))


def set_damaged_aside(plan: Plan, planned: PlannedStudy) -> int:
    """Set the runs of a study aside whose files are not what was written, and forget that their arms were trained.
    Their number."""
    store, count = Store(layout.RESULTS), 0
    for arm in planned.arms.values():
        header = read_header(layout.data(arm.data_key))
        for seed in planned.seeds if header else ():
            run = Run(arm, seed, header.fingerprint).id
            if not damage(store, run):
                continue
            with alone(store.lock(run), f"run {run}: another process is at it; waiting"):
                if why := damage(store, run):  # the other may have trained it anew
                    set_aside(store.folder / run, why)
            for job in plan.arm_jobs[arm.id]:
                layout.arm_table(plan.suite_name, job.name).unlink(missing_ok=True)
            count += 1
    return count


def damage(store: Store, run: str) -> str | None:
    """What is wrong with a file that the tables are made of, of the run of this id; None where nothing is."""
    try:
        for name in FILES:
            if name != WEIGHTS:
                store.file(run, name)
    except Damaged as error:
        return str(error)
    return None


def read_histories(histories: Mapping[str, bytes]) -> pd.DataFrame:
    """The histories of runs, by their ids, as one table; read at once where they have the same columns, which is
    many times quicker than one by one."""
    lines: dict[str, list[str]] = {}
    for run, content in histories.items():
        header, *rows = content.decode().splitlines()
        lines.setdefault(header, []).extend(f"{row},{run}" for row in rows)
    tables = [pd.read_csv(io.StringIO("\n".join([f"{header},run", *rows]))) for header, rows in lines.items()]
    return pd.concat(tables, ignore_index=True)


def has_runs(planned: PlannedStudy) -> bool:
    """Whether the store holds a finished run of a study."""
    store = Store(layout.RESULTS)
    headers = ((arm, read_header(layout.data(arm.data_key))) for arm in planned.arms.values())
    try:
        return any(store.rows(arm, planned.seeds, header) for arm, header in headers if header)
    except Damaged:  # there are some; `collect` sets them aside
        return True


def forget(plan: Plan, name: str) -> None:
    """Remove the tables of a study whose runs are gone."""
    for table in ("runs", "history"):
        layout.study_table(plan.suite_name, name, table).unlink(missing_ok=True)


def is_complete(plan: Plan, planned: PlannedStudy) -> bool:
    """Whether the tables and figures of a study are there, with all of its runs."""
    runs = read_runs(plan.suite_name, planned)
    return (
        len(runs) == len(planned.arms) * len(planned.seeds)
        and layout.figures(plan.suite_name, planned.name).is_dir()
    )


def renew_later(plan: Plan, name: str) -> None:
    """Give the tables of a study a date long gone, and forget what Snakemake knows of those before them: it has not made
    them, and makes them again."""
    for table in ("runs", "history"):
        path = layout.study_table(plan.suite_name, name, table)
        os.utime(path, (1, 1))  # 0 is no date to it
        known = base64.urlsafe_b64encode(path.as_posix().encode()).decode()
        with suppress(OSError):  # it is not there; or its name is too long, and Snakemake keeps it elsewhere
            Path(".snakemake", "metadata", known).unlink()


def with_derived(table: pd.DataFrame, history: pd.DataFrame, batch_sizes: Mapping[str, int]) -> pd.DataFrame:
    """The table with what follows from other columns: the `gap`, test minus training error in percentage points,
    which a diverged run has none of; `milliseconds_per_step`, by the batch size of each arm; and the `gradient_norm`
    of the last epoch's last batch."""
    finished = table["status"] != "diverged"  # two errors of guessing make no gap of 0
    last = history.groupby("run", sort=False).tail(1).set_index("run")
    return table.assign(
        gap=(table["test_error"] - table["train_error"]).where(finished),
        milliseconds_per_step=1000 * table["arm"].map(batch_sizes) / table["images_per_second"],
        gradient_norm=table["run"].map(last["gradient_norm"]),
    )


def seconds_to_target(history: pd.DataFrame, target: float | None) -> pd.Series:
    """By run, the seconds of training until its validation error was at or below the target, in percent, for the
    first time. Runs that never got there are left out; all of them without a target."""
    if target is None:
        return pd.Series(dtype=float)
    return history[history["validation_error"] <= target].groupby("run")["seconds"].first()


def read_runs(suite: str, planned: PlannedStudy) -> pd.DataFrame:
    """The table of runs of a study, factors as ordered categories; without rows where it is not there."""
    path = layout.study_table(suite, planned.name, "runs")
    if path.is_file():
        table = read_table(path, dtype=dict.fromkeys(planned.factors, str))
    else:
        table = pd.DataFrame(columns=[*dict.fromkeys([*planned.factors, *COLUMNS, *METRICS])])
    for name, factor in planned.factors.items():
        table[name] = pd.Categorical(table[name], [level.label for level in factor.levels], ordered=True)
    return table


def read_table(path: Path, **options) -> pd.DataFrame:
    """A CSV file of ours: an empty cell is missing, the word `none` is a level. UserError where it is missing."""
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=["", "nan"], **options)
    except FileNotFoundError:
        raise UserError(f"{path}: not there yet; `snakemake` makes it") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete it, and `snakemake` makes it anew") from None


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, whole or not at all."""
    write_text(path, table.to_csv(index=False))
