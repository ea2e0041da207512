"""The report of the suite `digits` in report/example/, made again from the tables that lie with it.

python tests/example.py                   after a change of text, figures or claims
python tests/example.py results/digits    with the tables of new results
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from ablations import layout
from ablations.config import Library
from ablations.figures import draw
from ablations.plan import make_plan
from ablations.report import write_report
from ablations.verdicts import write_verdicts

EXAMPLE = Path(__file__).parent.parent / "report" / "example"
SUITE = "digits"
PARTS = ("report.md", "report.pdf", "report-runs.csv", "figures")


def render(tables: Path, workspace: Path) -> Path:
    """The folder of a report, made in a workspace from a folder of tables, a folder a study. What does not come from
    the tables comes from the package: definitions, template, style."""
    plan = make_plan(Library(), SUITE)
    before = Path.cwd()
    os.chdir(workspace)
    try:
        shutil.copytree(tables, layout.RESULTS / SUITE)
        for planned in plan.reported("report"):
            draw(plan, planned.name)
        write_verdicts(plan, "report")
        write_report(plan, "report")
    finally:
        os.chdir(before)
    return workspace / layout.REPORT / SUITE


def take_tables(results: Path) -> None:
    """Put the tables of a suite's results in the place of those that lie with the example."""
    shutil.rmtree(EXAMPLE / "tables", ignore_errors=True)
    for planned in make_plan(Library(), SUITE).reported("report"):
        for table in [results / planned.name / f"{name}.csv" for name in ("runs", "history")] + sorted(
            (results / planned.name / "diagnostics").glob("*.csv")
        ):
            target = EXAMPLE / "tables" / table.relative_to(results)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(table, target)


def main(results: str | None = None) -> None:
    if results:
        if not Path(results, "depth", "runs.csv").is_file():
            raise SystemExit(f"{results}: no results/digits, whose tables are to be taken")
        take_tables(Path(results))
    with tempfile.TemporaryDirectory() as workspace:
        made = render(EXAMPLE / "tables", Path(workspace))
        for part in PARTS:
            path = EXAMPLE / part
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            shutil.move(made / part, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
