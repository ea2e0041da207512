"""Tables, verdicts and figures -> report.md, report.html and report.pdf, from one template."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import jinja2
import pandas as pd

from ablations import layout, mechanism_findings
from ablations.captions import caption, headline_caption
from ablations.collect import read_runs, read_table, write_table
from ablations.config import TEMPLATES, Diagnostic, listing, words
from ablations.contrasts import binomial_interval, mean_interval
from ablations.errors import UserError
from ablations.failures import failure_lines, failures
from ablations.figure_data import is_wide, within
from ablations.findings import (
    adjusted_over,
    correlations,
    effect_with_interval,
    mark,
    missing_runs,
    numbers_of_runs,
    p_value,
    sentence,
    smallest,
)
from ablations.headline import draw_headline
from ablations.mechanisms import MECHANISMS, drawable, fills_page, read_diagnostic
from ablations.methods import environments, methods, threats
from ablations.opening import opening
from ablations.plan import TUNED, Plan, PlannedStudy
from ablations.statistics import (
    of_arm,
    resolution,
    sum_of_weights,
    weighted_arms,
)
from ablations.tuning import tuning
from ablations.tuning_figures import TITLES, captions
from ablations.typesetting import Typesetter
from ablations.verdicts import read_verdicts

CLAIMS_ON_A_PAGE = 40  # that the figure of all verdicts takes at full width


def write_report(plan: Plan, name: str, form: str = "course", authors: Sequence[str] = ()) -> None:
    """Write report/<suite>/<report>.md, .html, .pdf and the table of runs they come from, -runs.csv. `form` is that
    of the PDF: `course`, in one column, or `paper`, in two."""
    folder = layout.report(plan.suite_name, name, "md").parent
    folder.mkdir(parents=True, exist_ok=True)
    context = {**gather(plan, name, folder), "authors": list(authors)}
    write_table(context["table"], folder / context["runs_file"])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        comment_start_string="{##",
        comment_end_string="##}",
    )
    environment.filters |= {"json": lambda value: json.dumps(value, ensure_ascii=False), "cell": cell}
    template = environment.get_template("template.md.j2")
    typesetter = Typesetter(folder, plan.library.bibliographies)
    source = template.render(context, paper=False)
    typesetter.markdown(source, f"{name}.md", context["title"], context["subtitle"])
    typesetter.html(source, f"{name}.html")
    paper = form == "paper"
    typesetter.pdf(template.render(context, paper=True) if paper else source, f"{name}.pdf", paper)


# ------------------------------------------------------------------------------------------ what it says


def gather(plan: Plan, name: str, folder: Path) -> dict[str, Any]:
    """Everything the template needs; every number from the tables of runs and verdicts. Draws the figure of all
    verdicts into `folder`."""
    table = read_verdicts(plan, name)
    reported = plan.reported(name)
    tables = {planned.name: read_runs(plan.suite_name, planned) for planned in reported}
    runs = pd.concat([table.assign(study=study) for study, table in tables.items()], ignore_index=True)
    failed = [failure for planned in reported for failure in failures(plan, planned)]
    if runs.empty:
        message = f"none of the runs of this report is there; train them with: {train_all(plan, name)}"
        raise UserError("\n".join([message, *(["Not finished:", *failure_lines(failed)] if failed else [])]))
    studies = [study_context(plan, planned, tables[planned.name], table) for planned in reported]
    verdicts = [row for study in studies for row in study["verdicts"]]
    datasets = " and ".join(dict.fromkeys(arm.dataset.title for p in reported for arm in p.arms.values()))
    seeds = " or ".join(dict.fromkeys(str(len(planned.seeds)) for planned in reported))
    first = reported[0]
    levels = shlex.join(f"{factor}={level}" for factor, level in first.levels(next(iter(first.arms))).items())
    extra = plan.library.extra
    return {
        "title": "Ablations of convolutional networks" if name == "report" else first.study.title,
        "subtitle": f"Suite `{plan.suite_name}`: {plan.suite.title}",
        "missing": missing(plan, reported, tables),
        "failures": failed,
        "unmeasured": unmeasured(plan, reported),
        "summary": opening(verdicts, table, runs["run"].nunique(), datasets, seeds),
        "headline": headline(plan, table, folder / "figures" / f"{name}-verdicts.svg") if verdicts else None,
        "verdicts": verdicts,
        "studies": studies,
        "methods": methods(reported, tables),
        "mechanisms": [MECHANISMS[name] for name in measured(studies)],
        "seeds": seeds,
        "targets": any(planned.target_error is not None for planned in reported),
        "threats": threats(reported, runs, adjusted_over(plan, name)),
        "adjusted_over": adjusted_over(plan, name),
        "correlations": correlations(table),
        "environments": environments(runs),
        "repeat_all": train_all(plan, name),
        "repeat_one": f"ablations train {first.name} {levels} --seeds 0 --suite {plan.suite_name}"
        + (f" --extra {extra}" if extra else ""),
        "table": runs[["study", *(column for column in runs if column != "study")]],
        "runs_file": f"{name}-runs.csv",
    }


def measured(studies: list[dict[str, Any]]) -> list[str]:
    """The diagnostics that the studies of a report show or tell of, each once."""
    return [
        *dict.fromkeys(each["name"] for study in studies for each in study["diagnostics"] if each["measured"])
    ]


def headline(plan: Plan, verdicts: pd.DataFrame, path: Path) -> dict[str, Any]:
    """The figure of all verdicts, drawn into the folder of figures; narrower where it would be higher than a page."""
    draw_headline(plan, verdicts, path)
    return {
        "path": f"{path.parent.name}/{path.name}",
        "caption": headline_caption(plan, verdicts),
        "alt": "The effects that the claims are about, with their intervals",
        "width": min(100, 100 * CLAIMS_ON_A_PAGE // len(verdicts)),
    }


def train_all(plan: Plan, name: str) -> str:
    """The command that makes a report, training what it lacks."""
    options = f"--cores all --config suite={plan.suite_name}"
    options += f" extra={plan.library.extra}" if plan.library.extra else ""
    if name.endswith(TUNED):
        return f"snakemake search {options} study={name.removesuffix(TUNED)}"
    return f"snakemake {'' if name == 'report' else f'{name} '}{options}"


def missing(plan: Plan, reported: Sequence[PlannedStudy], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What is not trained yet and which command trains it, a sentence a study; empty where nothing is missing."""
    lines = (missing_runs(plan, planned, tables[planned.name]) for planned in reported)
    return [line for line in lines if line]


def unmeasured(plan: Plan, reported: Sequence[PlannedStudy]) -> list[str]:
    """Which diagnostics are not measured yet and which command measures them, a sentence a study; empty where all are."""
    lines = []
    for planned in reported:
        lacking = [
            MECHANISMS[name].title.lower()
            for name, asked in planned.study.diagnostics.items()
            if read_diagnostic(plan.suite_name, planned, name) is None and has_arms(planned, asked)
        ]
        if lacking:
            verb, them = ("is", "it") if len(lacking) == 1 else ("are", "them")
            lines.append(
                f"Of {planned.name}, {listing(lacking)} {verb} not measured. `{train_all(plan, planned.name)}` measures "
                f"{them}."
            )
    return lines


def has_arms(planned: PlannedStudy, asked: Diagnostic) -> bool:
    """Whether a suite has the arms of a diagnostic."""
    try:
        return bool(planned.select(asked.arms))
    except UserError:
        return False


def shown(planned: PlannedStudy, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table of verdicts, as shown."""
    claim = planned.study.claims[row["claim"]]
    tested = row["verdict"] != "not tested"
    return {
        "study": row["study"],
        "claim": row["claim"],
        "statement": claim.statement,
        "verdict": row["verdict"],
        "reason": row["reason"] if isinstance(row["reason"], str) else "",
        "effect": effect_with_interval(claim, row),
        "margin": smallest(claim),
        "p": p_value(row["p_adjusted"]) if tested and row["method"] != "exact" else "–",
        "n": numbers_of_runs(row, ", ") + mark(row) if tested else "–",
        "published": claim.in_print,
        "source": claim.source,
        "sentence": sentence(planned, claim, row),
    }


def study_context(
    plan: Plan, planned: PlannedStudy, runs: pd.DataFrame, verdicts: pd.DataFrame
) -> dict[str, Any]:
    """What the template needs of a study."""
    folder = layout.figures(plan.suite_name, planned.name).relative_to(layout.REPORT / plan.suite_name)
    figures = [] if runs.empty else figures_of(plan, planned, runs, folder)
    arms = [arm_row(key, of_arm(planned, runs, key)) for key in planned.arms]
    return {
        "name": planned.name,
        "title": planned.study.title,
        "question": planned.study.question,
        "background": planned.study.background,
        "factors": [words(factor) for factor in planned.factors],
        "widths": [max(len(level.label) for level in f.levels) + 4 for f in planned.factors.values()],
        "arms": arms,
        "runs": [
            {"id": f"runs-{planned.name}-{number}" if first == 0 else None, "cells": (*arm["levels"], *cells)}
            for number, arm in enumerate(arms, start=1)
            for first, cells in enumerate(arm["runs"])
        ],
        "target": None if planned.target_error is None else f"{planned.target_error:g}",
        "figures": in_rows(figures),
        "refers": refers(planned.name, figures),
        "diagnostics": [
            diagnostic_context(plan, planned, name, folder) for name in planned.study.diagnostics
        ],
        "diverged": bool((runs["status"] == "diverged").any()),
        "test_set": error_on_others(runs),
        "verdicts": [
            {**shown(planned, row), "runs": runs_of_claim(planned, row["claim"], arms)}
            for row in verdicts[verdicts["study"] == planned.name].to_dict("records")
        ],
        "tuning": tuning_context(plan, planned, runs, folder),
    }


def figures_of(
    plan: Plan, planned: PlannedStudy, runs: pd.DataFrame, folder: PurePath
) -> list[dict[str, Any]]:
    """What the template needs of a study's figures."""
    history = read_table(layout.study_table(plan.suite_name, planned.name, "history"))
    return [
        {
            "name": name,
            "wide": is_wide(planned, figure),
            "path": (folder / f"{name}.svg").as_posix(),
            "caption": caption(figure, planned, runs, history),
            "alt": figure.title,
        }
        for name, figure in planned.study.figures.items()
    ]


def tuning_context(
    plan: Plan, planned: PlannedStudy, runs: pd.DataFrame, folder: PurePath
) -> dict[str, Any] | None:
    """What the template needs of the search behind a tuned study; None for others."""
    if not planned.name.endswith(TUNED) or runs.empty:
        return None
    untuned = plan.study(planned.name.removesuffix(TUNED))
    figures = [
        {
            "name": name,
            "wide": True,
            "path": (folder / f"{name}.svg").as_posix(),
            "caption": told,
            "alt": TITLES[name],
        }
        for name, told in captions(untuned).items()
    ]
    return {**tuning(plan, planned, runs), "figures": in_rows(figures)}


def in_rows(figures: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Figures in rows, in their order: one that is as wide as a page, or up to two that are half as wide."""
    rows: list[list[dict[str, Any]]] = []
    for each in figures:
        if rows and not each["wide"] and not rows[-1][0]["wide"] and len(rows[-1]) == 1:
            rows[-1].append(each)
        else:
            rows.append([each])
    return rows


def refers(study: str, figures: list[dict[str, Any]]) -> str:
    """A sentence that leads to a study's figures and its table of arms."""
    named = listing([f"[](#fig-{study}-{figure['name']})" for figure in figures])
    shown = f"{named} {'show' if len(figures) > 1 else 'shows'} the runs; " if figures else ""
    return f"{shown}[](#tbl-{study}) lists the arms."


def runs_of_claim(planned: PlannedStudy, name: str, arms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs that a claim compares, as the HTML lists them; none where the suite lacks its arms."""
    try:
        compared = sum_of_weights(weighted_arms(planned, planned.study.claims[name]))
    except UserError:
        return []
    return [
        {"id": None, "cells": (*arm["levels"], *cells)}
        for arm in arms
        if arm["levels"] in compared
        for cells in arm["runs"]
    ]


def diagnostic_context(plan: Plan, planned: PlannedStudy, name: str, figures: PurePath) -> dict[str, Any]:
    """What the template needs of a diagnostic."""
    mechanism, asked = MECHANISMS[name], planned.study.diagnostics[name]
    context = {"name": name, "title": mechanism.title, "path": None, "measured": False}
    try:
        planned.select(asked.arms)
    except UserError as error:
        return {**context, "text": f"Not measured: {error}."}
    table = read_diagnostic(plan.suite_name, planned, name)
    if table is None:
        return {**context, "text": "Not measured yet."}
    if table.empty:
        return {**context, "text": f"Not measured: {mechanism.lacking}."}
    return {
        **context,
        "measured": True,
        "text": mechanism_findings.paragraph(planned, name, table),
        "path": (figures / f"{name}.svg").as_posix() if drawable(table) else None,
        "caption": mechanism_findings.caption(planned, name, table),
        "wide": fills_page(planned, name, table),
        "alt": mechanism.title,
    }


def arm_row(key: tuple[str, ...], runs: pd.DataFrame) -> dict[str, Any]:
    """A row of the table of arms."""
    if runs.empty:
        return {
            "levels": key,
            "n": 0,
            **dict.fromkeys(
                ("macs", "parameters", "train_error", "test_error", "on_others", "seconds_to_target"), "–"
            ),
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
        "on_others": on_others(runs),
        "seconds_to_target": seconds_to_target(runs),
        "runs": [run_cells(run) for run in runs.to_dict("records")],
    }


def run_cells(run: Mapping[str, Any]) -> tuple[str, ...]:
    """What the list of runs shows of a run beside its arm's levels."""
    numbers = [f"{run[column]:.2f}" for column in ("train_error", "test_error", "seconds")]
    return (str(run["seed"]), run["run"], run["status"], *numbers, run["device"])


def on_others(runs: pd.DataFrame) -> str:
    """How far the mean test error of an arm's runs holds for other images: its interval as that of one run."""
    low, high = binomial_interval(runs["test_error"].mean(), int(runs["test_images"].iloc[0]))
    return f"[{low:.1f}, {high:.1f}]"


def error_on_others(runs: pd.DataFrame) -> str:
    """What the column of `on_others` is, in a sentence; empty without runs."""
    if runs.empty:
        return ""
    return (
        f"Apart from the spread of seeds, *on others* tells what an arm's mean test error stands for on images other than "
        f"these {int(runs['test_images'].iloc[0]):,}, drawn alike (95 %, binomial); differences of arms vary less with "
        "them, since all arms are tested on the same ones."
    )


def seconds_to_target(runs: pd.DataFrame) -> str:
    """Mean seconds of an arm's runs that got to the target, and how many did: `3.2 (4 of 5)`."""
    reached = runs["seconds_to_target"].dropna()
    mean = "–" if reached.empty else f"{reached.mean():.1f}"
    return f"{mean} ({len(reached)} of {len(runs)})"


def magnitude(value: float) -> str:
    """A large number to three digits with its unit: 2.52 M, 19.0 k."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:#.3g}".rstrip(".") + f" {unit}"
    return f"{value:g}"


def interval(runs: pd.DataFrame, metric: str) -> str:
    """Mean and 95 % interval of a metric over an arm's runs, as far as the metric can go: `12.50 [6.15, 18.85]`."""
    numbers = mean_interval(runs[metric].to_numpy(float), resolution(runs, metric))
    mean, low, high = within(metric, numbers)
    return f"{mean:.2f}" if math.isnan(low) else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def summary(plan: Plan, name: str) -> str:
    """The verdicts and where the report lies, for a terminal."""
    failed = [failure for planned in plan.reported(name) for failure in failures(plan, planned)]
    lines = [
        f"Verdicts of suite {plan.suite_name} (effect with its 95 % interval, and the smallest that matters):"
    ]
    verdicts = read_verdicts(plan, name).to_dict("records")
    rows = [shown(plan.study(verdict["study"]), verdict) for verdict in verdicts]
    width = max((len(row["effect"]) for row in rows), default=0)
    lines += [
        f"  {row['verdict']:<12}  {row['effect']:<{width}}  {row['margin']:<8}  {row['statement']}"
        for row in rows
    ]
    if failed:
        lines.append("Not finished:")
        lines += failure_lines(failed)
    lines += [
        "Report:",
        *(f"  {layout.report(plan.suite_name, name, ending)}" for ending in ("md", "html", "pdf")),
    ]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())
