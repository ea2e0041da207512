"""Tables, verdicts and figures -> report.md, report.html and report.pdf, from one template."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from pathlib import PurePath
from typing import Any

import jinja2
import pandas as pd

from ablations import layout
from ablations.captions import caption
from ablations.collect import read_runs, read_table, write_table
from ablations.config import TEMPLATES, words
from ablations.errors import UserError
from ablations.findings import in_percent, numbers_of_runs, p_value, sentence
from ablations.mechanisms import MECHANISMS, paragraph, read_diagnostic
from ablations.methods import environments, methods
from ablations.plan import Plan, PlannedStudy
from ablations.statistics import (
    Verdict,
    binomial_interval,
    judge,
    mean_interval,
    of_arm,
    resolution,
)
from ablations.typesetting import Typesetter


def write_verdicts(plan: Plan, name: str) -> None:
    """Judge the claims of a report's studies: results/<suite>/<report>-verdicts.csv."""
    verdicts = judge((planned, read_runs(plan.suite_name, planned)) for planned in plan.reported(name))
    columns = [field.name for field in fields(Verdict)]
    table = pd.DataFrame([vars(verdict) for verdict in verdicts], columns=columns)
    write_table(table, layout.verdicts(plan.suite_name, name))


def write_report(plan: Plan, name: str) -> None:
    """Write report/<suite>/<report>.md, .html, .pdf and the table of runs they come from, -runs.csv."""
    context = gather(plan, name)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        comment_start_string="{##",
        comment_end_string="##}",
    )
    environment.filters |= {"json": lambda text: json.dumps(text, ensure_ascii=False), "cell": cell}
    source = environment.get_template("template.md.j2").render(context)
    folder = layout.report(plan.suite_name, name, "md").parent
    folder.mkdir(parents=True, exist_ok=True)
    write_table(context["table"], folder / f"{name}-runs.csv")
    typesetter = Typesetter(source, folder, plan.library.bibliographies)
    typesetter.markdown(f"{name}.md", context["title"], context["subtitle"])
    typesetter.html(f"{name}.html")
    typesetter.pdf(f"{name}.pdf")


# ------------------------------------------------------------------------------------------ what it says


def gather(plan: Plan, name: str) -> dict[str, Any]:
    """Everything the template needs; every number from the tables of runs and verdicts."""
    verdicts = read_verdicts(plan, name)
    tables = {planned.name: read_runs(plan.suite_name, planned) for planned in plan.reported(name)}
    studies = [
        study_context(plan, planned, tables[planned.name], verdicts) for planned in plan.reported(name)
    ]
    runs = pd.concat([table.assign(study=study) for study, table in tables.items()], ignore_index=True)
    extra = plan.library.extra
    told = Counter(row["verdict"] for row in verdicts)
    first = next(iter(plan.reported(name)))
    levels = " ".join(f"{factor}={level}" for factor, level in first.levels(next(iter(first.arms))).items())
    return {
        "title": "Ablations of convolutional networks" if name == "report" else first.study.title,
        "subtitle": f"Suite `{plan.suite_name}`: {plan.suite.title}",
        "verdicts": verdicts,
        "counts": ", ".join(f"{count} {verdict}" for verdict, count in told.items()).capitalize()
        or "No verdicts",
        "total_runs": runs["run"].nunique(),
        "datasets": " and ".join(
            dict.fromkeys(arm.dataset.title for p in plan.reported(name) for arm in p.arms.values())
        ),
        "studies": studies,
        "seeds": " or ".join(dict.fromkeys(str(len(planned.seeds)) for planned in plan.reported(name))),
        "environments": environments(runs),
        "repeat_all": f"snakemake {'' if name == 'report' else f'{name} '}--cores all --config suite={plan.suite_name}"
        + (f" extra={extra}" if extra else ""),
        "repeat_one": f"ablations train {first.name} {levels} --seeds 0 --suite {plan.suite_name}"
        + (f" --extra {extra}" if extra else ""),
        "table": runs[["study", *(column for column in runs if column != "study")]],
    }


def read_verdicts(plan: Plan, name: str) -> list[dict[str, Any]]:
    """Rows of the verdict table, as shown."""
    rows = []
    for row in read_table(layout.verdicts(plan.suite_name, name)).to_dict("records"):
        claim = plan.study(row["study"]).study.claims[row["claim"]]
        tested = row["verdict"] != "not tested"
        unit = " pp" if in_percent(claim.metric) else ""
        effect = f"{row['effect']:+.2f}{unit} [{row['low']:+.2f}, {row['high']:+.2f}]" if tested else "–"
        rows.append(
            {
                "study": row["study"],
                "claim": row["claim"],
                "statement": claim.statement,
                "verdict": row["verdict"],
                "reason": row["reason"] if isinstance(row["reason"], str) else "",
                "effect": effect,
                "margin": f"{claim.margin:g}{unit}",
                "p": p_value(row["p_adjusted"]) if tested else "–",
                "n": numbers_of_runs(row, ", ") if tested else "–",
                "published": claim.in_print,
                "source": claim.source,
                "sentence": sentence(claim, row, effect),
            }
        )
    return rows


def study_context(
    plan: Plan, planned: PlannedStudy, runs: pd.DataFrame, verdicts: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the template needs of a study."""
    figures = layout.figures(plan.suite_name, planned.name)
    relative = figures.relative_to(layout.REPORT / plan.suite_name)
    return {
        "name": planned.name,
        "title": planned.study.title,
        "question": planned.study.question,
        "background": planned.study.background,
        "factors": [words(factor) for factor in planned.factors],
        "widths": [max(len(level.label) for level in f.levels) + 4 for f in planned.factors.values()],
        "arms": [arm_row(key, of_arm(planned, runs, key)) for key in planned.arms],
        "target": None if planned.target_error is None else f"{planned.target_error:g}",
        "figures": [
            {
                "width": "60%" if len(figure.y) == 1 and figure.kind != "curves" else "100%",
                "path": (relative / f"{name}.svg").as_posix(),
                "caption": caption(figure, planned),
            }
            for name, figure in planned.study.figures.items()
        ],
        "diagnostics": [
            diagnostic_context(plan, planned, name, relative) for name in planned.study.diagnostics
        ],
        "diverged": bool((runs["status"] == "diverged").any()),
        "test_set": error_on_others(runs),
        "verdicts": [row for row in verdicts if row["study"] == planned.name],
        "methods": methods(planned, runs),
    }


def diagnostic_context(plan: Plan, planned: PlannedStudy, name: str, figures: PurePath) -> dict[str, Any]:
    """What the template needs of a diagnostic; without its table, the command that makes it."""
    mechanism, asked = MECHANISMS[name], planned.study.diagnostics[name]
    try:
        arms = planned.select(asked.arms)
    except UserError as error:
        return {"title": mechanism.title, "text": f"Not measured: {error}.", "path": None}
    table = read_diagnostic(plan.suite_name, planned, name)
    if table is None:
        command = f"ablations diagnose {planned.name} --suite {plan.suite_name}"
        return {"title": mechanism.title, "text": f"Not measured yet: `{command}`.", "path": None}
    levels = planned.levels(next(iter(arms)))
    at = "".join(f"; {words(factor)} {levels[factor]}" for factor in asked.arms)
    zeros = mechanism.logarithmic and (table["value"] == 0).any()
    return {
        "title": mechanism.title,
        "text": paragraph(planned, name, table),
        "path": (figures / f"{name}.svg").as_posix(),
        "caption": f"{mechanism.title}{at}; n = {table['seed'].nunique()} seeds an arm; thin lines are runs, thick "
        f"lines their means{'; zeros are off the logarithmic axis' if zeros else ''}.",
        "width": "60%" if len(mechanism.panels) == 1 else "100%",
    }


def arm_row(key: tuple[str, ...], runs: pd.DataFrame) -> dict[str, Any]:
    """A row of the table of arms."""
    if runs.empty:
        return {
            "levels": key,
            "n": 0,
            **dict.fromkeys(("macs", "parameters", "train_error", "test_error", "seconds_to_target"), "–"),
            "runs": [],
        }
    first, diverged = runs.iloc[0], int((runs["status"] == "diverged").sum())
    mark = f" †{diverged}" if diverged else ""
    return {
        "levels": key,
        "n": len(runs),
        "macs": magnitude(first["macs"]),
        "parameters": magnitude(first["parameters"]),
        "train_error": interval(runs, "train_error") + mark,
        "test_error": interval(runs, "test_error") + mark,
        "seconds_to_target": seconds_to_target(runs),
        "runs": [run_cells(run) for run in runs.to_dict("records")],
    }


def run_cells(run: Mapping[str, Any]) -> tuple[str, ...]:
    """What the list of runs shows of a run beside its arm's levels."""
    numbers = [f"{run[column]:.2f}" for column in ("train_error", "test_error", "seconds")]
    return (str(run["seed"]), run["run"], run["status"], *numbers, run["device"])


def error_on_others(runs: pd.DataFrame) -> str:
    """How far the middle one of the runs' test errors holds for other images, in a sentence; empty without runs."""
    if runs.empty:
        return ""
    error, images = runs["test_error"].median(), int(runs["test_images"].iloc[0])
    low, high = binomial_interval(error, images)
    return (
        f"Apart from the spread of seeds, the median test error, {error:.2f} % of these {images:,} images, stands for "
        f"[{low:.2f}, {high:.2f}] on others like them (95 %, binomial); differences of arms vary less with it, since all "
        "arms are tested on the same images."
    )


def seconds_to_target(runs: pd.DataFrame) -> str:
    """Mean seconds of an arm's runs that got to the target, and how many did: `3.2 s (4 of 5)`."""
    reached = runs["seconds_to_target"].dropna()
    mean = "–" if reached.empty else f"{reached.mean():.1f} s"
    return f"{mean} ({len(reached)} of {len(runs)})"


def magnitude(value: float) -> str:
    """A large number with its unit: 2.52 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:g}"


def interval(runs: pd.DataFrame, metric: str) -> str:
    """Mean and half the 95 % interval of a metric over an arm's runs."""
    mean, low, _ = mean_interval(runs[metric].to_numpy(float), resolution(runs, metric))
    return f"{mean:.2f}" if math.isnan(low) else f"{mean:.2f} ± {mean - low:.2f}"


def summary(plan: Plan, name: str) -> str:
    """The verdicts and where the report lies, for a terminal."""
    lines = [
        f"Verdicts of suite {plan.suite_name} (effect with its 95 % interval, and the smallest that matters):"
    ]
    for row in read_verdicts(plan, name):
        lines.append(f"  {row['verdict']:<12}  {row['effect']:<32}  {row['margin']:<8}  {row['statement']}")
    lines += [
        "Report:",
        *(f"  {layout.report(plan.suite_name, name, ending)}" for ending in ("md", "html", "pdf")),
    ]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())
