"""Arm tables, histories and costs of a study -> its table of runs and its history. No torch."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ablations import layout
from ablations.errors import UserError
from ablations.files import write_text
from ablations.plan import Plan, PlannedStudy


def collect(plan: Plan, name: str) -> None:
    """Write results/<suite>/<study>/runs.csv, a row a run with its levels, metrics and costs, and history.csv, a
    row an epoch. Arms that were not trained yet are left out."""
    planned = plan.study(name)
    costs = read_table(layout.study_table(plan.suite_name, name, "cost")).set_index("arm")
    rows = []
    for key, arm in planned.arms.items():
        tables = [layout.arm_table(plan.suite_name, job.name) for job in plan.arm_jobs[arm.id]]
        found = [read_table(path) for path in tables if path.is_file()]
        if not found:
            continue
        runs = pd.concat(found)
        runs = runs[runs["seed"].isin(planned.seeds)]
        levels = pd.DataFrame({"network": arm.name, **planned.levels(key)}, index=runs.index)
        rows.append(pd.concat([levels, runs], axis=1).join(costs, on="arm"))
    if not rows:
        raise UserError(f"study {name}: no trained arm in {layout.RESULTS / plan.suite_name / 'arms'} yet")
    table = pd.concat(rows, ignore_index=True)
    history = pd.concat(
        [
            read_table(layout.RESULTS / "runs" / run / "history.csv").assign(run=run)
            for run in table["run"].drop_duplicates()
        ]
    )
    write_table(table, layout.study_table(plan.suite_name, name, "runs"))
    write_table(history, layout.study_table(plan.suite_name, name, "history"))


def read_runs(suite: str, planned: PlannedStudy) -> pd.DataFrame:
    """The table of runs of a study, factors as ordered categories."""
    table = read_table(
        layout.study_table(suite, planned.name, "runs"), dtype=dict.fromkeys(planned.factors, str)
    )
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
    write_text(path, table.to_csv(index=False))
