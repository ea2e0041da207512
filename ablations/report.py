"""Tables, verdicts and figures -> report.md, report.html and report.pdf, from one template."""

from __future__ import annotations

import math
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from ablations import layout
from ablations.collect import read_runs, read_table, write_table
from ablations.config import METRICS, Claim, Recipe
from ablations.errors import UserError
from ablations.files import write_bytes, write_text
from ablations.plan import Plan, PlannedStudy, package_root
from ablations.statistics import judge, mean_interval, resolution

TEMPLATES = package_root() / "report"


def write_verdicts(plan: Plan, name: str) -> None:
    """Judge the claims of a report's studies: results/<suite>/<report>-verdicts.csv."""
    verdicts = judge((planned, read_runs(plan.suite_name, planned)) for planned in plan.reported(name))
    write_table(pd.DataFrame([vars(verdict) for verdict in verdicts]), layout.verdicts(plan.suite_name, name))


def write_report(plan: Plan, name: str) -> None:
    """Write report/<suite>/<report>.md, .html, .pdf and the table of runs they come from, -runs.csv."""
    context = gather(plan, name)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        comment_start_string="{##",
        comment_end_string="##}",
    )
    source = environment.get_template("template.md.j2").render(context)
    folder = layout.report(plan.suite_name, name, "md").parent
    folder.mkdir(parents=True, exist_ok=True)
    write_table(context["table"], folder / f"{name}-runs.csv")
    write_markdown(source, context, folder / f"{name}.md")
    write_html(source, folder / f"{name}.html")
    write_pdf(source, folder / f"{name}.pdf")


# ------------------------------------------------------------------------------------------ what it says


def gather(plan: Plan, name: str) -> dict[str, Any]:
    """Everything the template needs; every number from the tables of runs and verdicts."""
    verdicts = read_verdicts(plan, name)
    tables = {planned.name: read_runs(plan.suite_name, planned) for planned in plan.reported(name)}
    studies = [
        study_context(plan, planned, tables[planned.name], verdicts) for planned in plan.reported(name)
    ]
    runs = pd.concat([table.assign(study=study) for study, table in tables.items()], ignore_index=True)
    told = Counter(row["verdict"] for row in verdicts)
    first = next(iter(plan.reported(name)))
    levels = " ".join(f"{factor}={level}" for factor, level in first.levels(next(iter(first.arms))).items())
    return {
        "title": "Ablations of convolutional networks" if name == "report" else first.study.title,
        "suite": plan.suite,
        "suite_name": plan.suite_name,
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
        "repeat_all": f"snakemake --cores all --config suite={plan.suite_name}"
        + ("" if name == "report" else f" {name}"),
        "repeat_one": f"ablations train {first.name} {levels} --seeds 0 --suite {plan.suite_name}",
        "table": runs[["study", *(column for column in runs if column != "study")]],
    }


def read_verdicts(plan: Plan, name: str) -> list[dict[str, Any]]:
    """Rows of the verdict table, as shown."""
    rows = []
    for row in read_table(layout.verdicts(plan.suite_name, name)).to_dict("records"):
        claim = plan.study(row["study"]).study.claims[row["claim"]]
        tested = row["verdict"] != "not tested"
        unit = " pp" if claim.metric.endswith("_error") else ""
        effect = f"{row['effect']:+.2f}{unit} [{row['low']:+.2f}, {row['high']:+.2f}]" if tested else "–"
        rows.append(
            {
                "study": row["study"],
                "claim": row["claim"],
                "statement": claim.statement,
                "verdict": row["verdict"],
                "reason": row["reason"] if isinstance(row["reason"], str) else "",
                "effect": effect,
                "p": p_value(row["p_adjusted"]) if tested else "–",
                "n": f"{row['n_arm']}, {row['n_than']}" if tested else "–",
                "published": claim.published,
                "source": claim.source,
                "sentence": sentence(claim, row, effect),
            }
        )
    return rows


def sentence(claim: Claim, row: dict[str, Any], effect: str) -> str:
    if row["verdict"] == "not tested":
        return f"Not tested: {row['reason']}."
    metric = METRICS[claim.metric].removesuffix(" (%)").capitalize()
    percent = " %" if claim.metric.endswith("_error") else ""
    return (
        f"{row['verdict'].capitalize()}. {metric}: {row['mean_arm']:.2f}{percent} against {row['mean_than']:.2f}{percent} "
        f"(difference {effect}, p = {p_value(row['p_adjusted'])}, n = {row['n_arm']} and {row['n_than']}; the smallest "
        f"difference that matters was set to {claim.margin:g}). Published: {claim.published} [@{claim.source}]."
    ).replace("p = <", "p <")


def study_context(
    plan: Plan, planned: PlannedStudy, runs: pd.DataFrame, verdicts: list[dict[str, Any]]
) -> dict[str, Any]:
    figures = layout.figures(plan.suite_name, planned.name)
    relative = figures.relative_to(layout.REPORT / plan.suite_name)
    return {
        "name": planned.name,
        "title": planned.study.title,
        "question": planned.study.question,
        "background": planned.study.background,
        "factors": [factor.replace("_", " ") for factor in planned.factors],
        "arms": [arm_row(key, runs[runs["arm"] == arm.id]) for key, arm in planned.arms.items()],
        "figures": [
            {
                "width": "60%" if len(figure.y) == 1 and figure.kind != "curves" else "100%",
                "path": (relative / f"{name}.svg").as_posix(),
                "caption": caption(figure, planned),
            }
            for name, figure in planned.study.figures.items()
        ],
        "diverged": bool((runs["status"] == "diverged").any()),
        "verdicts": [row for row in verdicts if row["study"] == planned.name],
        "methods": methods(planned, runs),
    }


def arm_row(key: tuple[str, ...], runs: pd.DataFrame) -> dict[str, Any]:
    if runs.empty:
        return {
            "levels": key,
            "n": 0,
            **dict.fromkeys(("macs", "parameters", "train_error", "test_error"), "–"),
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
    }


def caption(figure: Any, planned: PlannedStudy) -> str:
    shown = (
        "thin lines are runs, thick lines their means"
        if figure.kind == "curves"
        else ("dots are runs, lines join their means, bars are 95 % intervals of the mean (Student's t)")
    )
    return f"{figure.title}; n = {len(planned.seeds)} seeds an arm; {shown}."


def methods(planned: PlannedStudy, runs: pd.DataFrame) -> str:
    """Data and recipe of a study in words; fields that the study varies are left to its table."""
    arm = next(iter(planned.arms.values()))
    sizes = runs.iloc[0]
    recipe, varied = (
        arm.recipe,
        {path for factor in planned.factors.values() for level in factor.levels for path in level.settings},
    )
    shown = {
        name: getattr(recipe, name)
        for name in Recipe.model_fields
        if f"recipe.{name}" not in varied
        and (recipe.schedule == "step" or name not in ("milestones", "gamma"))
    }
    described = ", ".join(f"{name.replace('_', ' ')} {plain(value)}" for name, value in shown.items())
    return (
        f"Data: {arm.dataset.title}; {sizes['train_images']:,} training, {sizes['validation_images']:,} validation and "
        f"{sizes['test_images']:,} test images. SGD with momentum: {described}. Seeds "
        f"{planned.seeds[0]} to {planned.seeds[-1]} for each of {len(planned.arms)} arms."
    )


def plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " and ".join(map(plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def environments(runs: pd.DataFrame) -> list[str]:
    lines = []
    columns = ["device", "threads", "torch", "python", "commit", "dirty"]
    for values, group in runs.groupby(columns, dropna=False, sort=False):
        device, threads, torch, python, commit, dirty = values
        state = (
            f"commit {commit[:12]}{' with local changes' if dirty else ''}"
            if isinstance(commit, str)
            else "no commit known"
        )
        networks = group["run"].nunique()
        lines.append(
            f"{networks} runs on {device}, {threads} thread{'s' if threads > 1 else ''}, torch {torch}, Python {python}, {state}."
        )
    return lines


def magnitude(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:g}"


def interval(runs: pd.DataFrame, metric: str) -> str:
    mean, low, _ = mean_interval(runs[metric].to_numpy(float), resolution(runs, metric))
    return f"{mean:.2f}" if math.isnan(low) else f"{mean:.2f} ± {mean - low:.2f}"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def summary(plan: Plan, name: str) -> str:
    """The verdicts and where the report lies, for a terminal."""
    lines = []
    for row in read_verdicts(plan, name):
        lines.append(f"  {row['verdict']:<12}  {row['effect']:<32}  {row['statement']}")
    paths = [str(layout.report(plan.suite_name, name, ending)) for ending in ("md", "html", "pdf")]
    return "\n".join(
        [f"Verdicts of suite {plan.suite_name}:", *lines, "Report:", *(f"  {path}" for path in paths)]
    )


# ------------------------------------------------------------------------------------------ how it looks

READ = "markdown+implicit_figures+table_captions+tex_math_dollars"
CITED = ("--citeproc", f"--bibliography={TEMPLATES / 'references.bib'}", "--metadata=link-citations:true")


def pandoc(source: str, folder: Path, *arguments: str) -> str:
    """Convert the report's Markdown; paths in it are relative to `folder`."""
    import pypandoc

    command = [pypandoc.get_pandoc_path(), f"--from={READ}", *CITED, *arguments]
    done = subprocess.run(command, input=source, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"pandoc could not set the report: {done.stderr.strip()}")
    return done.stdout


def write_markdown(source: str, context: dict[str, Any], path: Path) -> None:
    """GitHub's Markdown: citations resolved, formulas between dollars."""
    body = pandoc(
        source, path.parent, "--to=gfm+tex_math_dollars-raw_html", "--wrap=none", "--shift-heading-level-by=1"
    )
    title = f"# {context['title']}\n\nSuite `{context['suite_name']}`: {context['suite'].title}\n\n"
    write_text(path, title + body)


def write_html(source: str, path: Path) -> None:
    """One file that works offline: figures, style and formulas (MathML) inside."""
    options = ("--standalone", "--embed-resources", "--mathml", "--toc", f"--css={TEMPLATES / 'style.css'}")
    write_text(path, pandoc(source, path.parent, "--to=html5", *options))


def write_pdf(source: str, path: Path) -> None:
    import typst

    variables = (
        "papersize=a4",
        "fontsize=10pt",
        "page-numbering=1",
        "margin.x=2cm",
        "margin.y=2.2cm",
    )
    options = [f"--variable={variable}" for variable in variables]
    options += ["--standalone", f"--include-in-header={TEMPLATES / 'paper.typ'}"]
    set_text = pandoc(source, path.parent, "--to=typst", *options)
    write_bytes(path, typst.compile(set_text.encode(), root=path.parent.absolute(), format="pdf"))
