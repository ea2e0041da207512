"""The table of verdicts of a report: made from the tables of runs, read by everything that tells of it."""

from __future__ import annotations

from dataclasses import fields

import pandas as pd

from ablations import layout
from ablations.collect import read_runs, read_table, write_table
from ablations.errors import UserError
from ablations.plan import Plan
from ablations.statistics import Verdict, family, judge

COLUMNS = [field.name for field in fields(Verdict)]


def write_verdicts(plan: Plan, name: str) -> None:
    """Judge the claims of a report's studies: results/<suite>/<report>-verdicts.csv."""
    runs = ((planned, read_runs(plan.suite_name, planned)) for planned in plan.reported(name))
    verdicts = judge(runs, family(plan, name))
    table = pd.DataFrame([vars(verdict) for verdict in verdicts], columns=COLUMNS)
    write_table(table, layout.verdicts(plan.suite_name, name))


def read_verdicts(plan: Plan, name: str) -> pd.DataFrame:
    """The verdicts of a report. UserError where they are missing, or of other claims than its studies have now."""
    path = layout.verdicts(plan.suite_name, name)
    table = read_table(path)
    claims = [(planned.name, claim) for planned in plan.reported(name) for claim in planned.study.claims]
    if list(table) != COLUMNS or list(zip(table["study"], table["claim"], strict=True)) != claims:
        raise UserError(
            f"{path}: of other claims than the studies have now; judge them again with: ablations verdicts {name} "
            f"--suite {plan.suite_name}"
        )
    return table
