"""From runs to the report, with made-up runs: nothing is trained."""

from __future__ import annotations

import base64
import html
import io
import math
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from conftest import write
from fontTools.ttLib import TTFont

from ablations import data, layout
from ablations.cli import main
from ablations.collect import collect, read_table, seconds_to_target, write_table
from ablations.config import Library, listing
from ablations.data import prepare, read_header
from ablations.errors import UserError
from ablations.figures import draw
from ablations.mathfont import italic
from ablations.methods import methods
from ablations.opening import opening
from ablations.plan import Run, make_plan
from ablations.report import error_on_others, interval, magnitude, on_others, write_report
from ablations.store import Store, table
from ablations.typesetting import Typesetter
from ablations.verdicts import write_verdicts

SUITE = """
title: made up
data: digits-small
seeds: 2
recipe: {{epochs: 3, batch_size: 64, learning_rate: 0.05}}
studies: {{depth: {{levels: {{depth: [20, 56]}}, {of_study}}}}}
"""
ERRORS = {"20": [50, 10, 12], "56": [60, 30, 20]}  # of validation after each epoch, by depth
ENVIRONMENT = {"device": "a processor", "threads": 1, "torch": "2.15.0", "python": "3.13.0"}


def plan_of(folder, of_study=""):
    """The plan of a suite that runs the study `depth` with this beside its levels."""
    write(folder / "my" / "suites" / "mine.yaml", SUITE.format(of_study=of_study))
    return make_plan(Library(folder / "my"), "mine")


def made_up(plan):
    """A store with every run of the study `depth`, each epoch of which took a second and 100 MB at most."""
    store, rows = Store(layout.RESULTS), []
    for (_, depth), arm in plan.study("depth").arms.items():
        rows.append({"arm": arm.id, "macs": 1e6, "norm_ops": 1e3, "parameters": 1e4, "activations": 1e3})
        prepare(arm.dataset, layout.data(arm.data_key))
        for seed in plan.study("depth").seeds:
            history = [
                {
                    "epoch": epoch,
                    "validation_error": error,
                    "train_error": error,
                    "seconds": float(epoch),
                    "gradient_norm": 0.5 * epoch,
                }
                for epoch, error in enumerate(ERRORS[depth], start=1)
            ]
            measured = {
                f"{split}_error": ERRORS[depth][-1] + seed for split in ("train", "validation", "test")
            }
            metrics = {
                "status": "finished",
                "seconds": 3.0,
                "peak_memory_mb": 100,
                "images_per_second": 640.0,
                **measured,
            }
            run = Run(arm, seed, read_header(layout.data(arm.data_key)).fingerprint)
            store.save(run, metrics, history, b"", ENVIRONMENT)
    write_table(pd.DataFrame(rows), layout.study_table("mine", "depth", "cost"))
    return store


def report(plan):
    """The Markdown of the suite's report on these runs."""
    collect(plan, "depth")
    draw(plan, "depth")
    write_verdicts(plan, "report")
    write_report(plan, "report")
    return layout.report("mine", "report", "md").read_text()


@pytest.mark.parametrize(
    ("target", "seconds"), [(10, {"a": 2.0, "b": 3.0}), (9.5, {"b": 3.0}), (0, {}), (None, {})]
)
def test_seconds_to_target_are_those_of_the_first_epoch_at_or_below_it(target, seconds):
    errors = {"a": [50, 10, 12, 10], "b": [90, 80, 9, 9], "diverged": [90, math.nan]}
    history = pd.DataFrame(
        {"run": run, "validation_error": error, "seconds": float(epoch)}
        for run, values in errors.items()
        for epoch, error in enumerate(values, start=1)
    )
    assert seconds_to_target(history, target).to_dict() == seconds


def test_the_table_of_runs_has_cells_for_what_a_run_lacks(workspace):
    plan = plan_of(workspace, "target_error: 10")
    store = made_up(plan)
    collect(plan, "depth")
    runs = read_table(layout.study_table("mine", "depth", "runs")).set_index(["depth", "seed"])
    assert runs.loc[(20, 0), "seconds_to_target"].tolist() == [2, 2]
    assert runs.loc[(56, 0), "seconds_to_target"].isna().all()
    assert (runs["peak_memory_mb"] == 100).all()
    arm = next(iter(plan.study("depth").arms.values()))
    rows = table(store.rows(arm, [0, 1], read_header(layout.data(arm.data_key)))).splitlines()
    assert rows[0].count(",") == rows[1].count(",") == rows[2].count(",")


def test_the_report_tells_the_time_to_a_target_where_there_is_one(workspace):
    made_up(plan_of(workspace))
    assert " Seconds to 1" not in report(plan_of(workspace))
    text = " ".join(report(plan_of(workspace, "target_error: 10.5")).split())
    assert "| On others | Seconds to 10.5 % |" in text and "Seconds to an error, in the last column" in text
    text = text.replace("\\[", "[").replace("\\]", "]")
    assert re.search(r"\| 12\.50 \[6\.15, 18\.85\] \| \[\S+ \S+\] \| 2\.0 \(2 of 2\) \|", text)
    assert re.search(r"\| 20\.50 \[14\.15, 26\.85\] \| \[\S+ \S+\] \| – \(0 of 2\) \|", text)


def test_the_list_of_runs_is_left_to_the_html(workspace):
    plan = plan_of(workspace)
    made_up(plan)
    text, page = report(plan), layout.report("mine", "report", "html").read_text()
    runs = read_table(layout.study_table("mine", "depth", "runs"))["run"]
    assert len(runs) == 8 and all(f"<td>{run}</td>" in page for run in runs)
    assert (
        "<" not in text.replace("\\<", "")
        and "runs of this study" not in text
        and "](#" not in text
        and "{#" not in text
    )


def test_the_report_opens_with_a_summary_and_refers_to_figures_and_tables_by_number(workspace):
    plan = plan_of(workspace)
    made_up(plan)
    text = " ".join(report(plan).split())
    assert "8 networks were trained on 256 handwritten digits" in text
    assert "to put 4 statements about convolutional networks to the test: " in text
    assert "Figure 1 and Table 1 show them all." in text
    assert "Figure 2, Figure 3 and Figure 4 show the runs; Table 2 lists the arms." in text
    assert "**Table 2.** **Depth of plain and residual networks: the arms.**" in text
    assert (
        text.index("## Summary")
        < text.index("**Figure 1.**")
        < text.index("**Table 1.**")
        < text.index("## Depth")
    )
    order = ["Methods", "Threats to validity", "Reproduction", "References"]
    places = [text.index(f"## {heading}") for heading in order]
    assert places == sorted(places)
    assert "Diverged runs." not in text


def test_what_is_not_trained_yet_is_said_at_the_top_with_the_command_that_trains_it(workspace):
    plan = plan_of(workspace)
    store = made_up(plan)
    assert "runs of depth" not in report(plan)
    first = next(iter(plan.study("depth").arms.values()))
    header = read_header(layout.data(first.data_key))
    shutil.rmtree(store.path(Run(first, 1, header.fingerprint)))
    top = report(plan).partition("networks were trained")[0]
    assert "1 of the 8 runs of depth is missing: shortcut none, depth 20 (seed 1)." in top
    assert "`snakemake depth --cores all --config suite=mine extra=" in top


def test_what_is_not_measured_yet_is_said_at_the_top_with_the_command_that_measures_it(workspace):
    plan = plan_of(workspace)
    made_up(plan)
    text = report(plan)
    top = text.partition("networks were trained")[0]
    assert "**This report is not complete.**" in top
    assert "- Of depth, gradient by layer, gradient through training, response of each block, " in top
    command = f"`snakemake depth --cores all --config suite=mine extra={workspace / 'my'}`"
    assert f"and loss over a plane of random directions are not measured. {command} measures them." in top
    assert "**Lesions.** Not measured yet." in text and "**Mechanisms.**" not in text
    folder = layout.diagnostic("mine", "depth", "lesions").parent
    folder.mkdir()
    columns = ["shortcut", "depth", "seed", "status", "panel", "position", "value"]
    for name in plan.study("depth").study.diagnostics:
        write_table(pd.DataFrame(columns=columns), folder / f"{name}.csv")
    assert "not complete" not in report(plan)
    (folder / "lesions.csv").unlink()
    assert f"- Of depth, lesions is not measured. {command} measures it." in report(plan)


def test_a_study_without_runs_leaves_the_others_their_report(workspace, capsys, monkeypatch):
    monkeypatch.setattr("ablations.cli.diagnose", lambda options: None)  # made-up runs have no weights
    plan_of(workspace, "}, width: {seeds: 1")
    options = ["--suite", "mine", "--extra", str(workspace / "my")]
    assert main(["report", *options]) == 2
    assert "none of the runs of this report is there; train them with: snakemake" in capsys.readouterr().err
    made_up(plan_of(workspace, "}, width: {seeds: 1"))
    assert main(["report", *options]) == 0
    assert "not tested" in capsys.readouterr().out
    text = layout.report("mine", "report", "md").read_text()
    assert "runs of width are missing" in text.partition("networks were trained")[0]
    assert "8 networks were trained" in text and "## Width" in text
    shutil.rmtree(layout.RESULTS / "runs")
    assert main(["report", *options]) == 2  # no report from tables of runs that are gone


def test_verdicts_on_claims_that_have_changed_since_are_not_told(workspace):
    plan = plan_of(workspace)
    made_up(plan)
    report(plan)
    path = layout.verdicts("mine", "report")
    path.write_text(path.read_text().replace("plain-networks-degrade-with-depth", "plain-degrades"))
    with pytest.raises(UserError, match="other claims than the studies have now; judge them again"):
        write_report(plan, "report")


def test_the_pdf_is_set_as_a_course_report_or_as_a_paper_with_its_authors(workspace):
    plan = plan_of(workspace)
    made_up(plan)
    report(plan)
    pages = {}
    for form in ("course", "paper"):
        write_report(plan, "report", form, ["Ada Lovelace", "Søren D'Arcy & Co"])
        pages[form] = layout.report("mine", "report", "pdf").read_bytes()
        assert pages[form].startswith(b"%PDF")
    assert pages["course"] != pages["paper"]
    page = layout.report("mine", "report", "html").read_text()
    assert "<br>Ada Lovelace<br>Søren D’Arcy &amp; Co" in " ".join(page.split())


def set_in_typst(form, plan, monkeypatch):
    """What typst is given of a report in a form."""
    given = []
    monkeypatch.setattr("typst.compile", lambda text, **options: given.append(text.decode()) or b"%PDF")
    write_report(plan, "report", form)
    return given[0]


def test_a_course_report_keeps_figures_with_their_text_and_a_paper_sets_two_columns(workspace, monkeypatch):
    plan = plan_of(workspace)
    made_up(plan)
    report(plan)
    course, paper = (set_in_typst(form, plan, monkeypatch) for form in ("course", "paper"))
    assert "#let paper = false" in course and "#let paper = true" in paper
    for text, first in ((course, "Summary"), (paper, "Abstract")):
        assert text.count("#figure(") == paper.count("#figure(")
        order = [
            f"[{first}]",
            "\n<fig-verdicts>",
            "[Verdicts]",
            "\n<tbl-verdicts>",
            "= Depth of plain",
            "= Methods",
        ]
        order += ["= Threats to validity", "= Reproduction", "[References]"]
        places = [text.index(each) for each in order]
        assert places == sorted(places)
    assert "#set page(columns: 2)" not in course and "placement: auto" not in course
    assert "#pair[" in course and "#question[" in course and "#incomplete[" in course
    body, _, tables = paper.partition("#set page(columns: 1)")
    assert body.index("#set page(columns: 2)") > body.index("\n<tbl-verdicts>")
    assert '#set figure(scope: "parent", placement: auto)' in body and "#pair[" not in paper
    assert "[Tables of arms]" in tables and "\n<tbl-depth>" in tables and "\n<tbl-depth>" not in body
    assert course.index("\n<tbl-depth>") < course.index("= Methods")


def test_a_reference_to_no_figure_stops_the_report(workspace):
    typesetter = Typesetter(workspace, [])
    with pytest.raises(UserError, match="no figure or table #fig-nowhere"):
        typesetter.html("See [](#fig-nowhere).", "report.html")


WHOLE = (
    "22.85 %",
    "4.5 pp",
    "p < 0.001",
    "p = 0.002",
    "n = 5",
    "Table 2",
    "Fig. 6",
    "[+54.13, +77.94]",
    "5 †4",
    "19.0 k",
)


@pytest.mark.parametrize(("form", "space"), [("html5", "\u00a0"), ("typst", "~"), ("gfm", " ")])
def test_no_line_ends_within_a_number_and_its_unit(workspace, form, space):
    source = "\n\n".join(f"before {whole} after" for whole in WHOLE)
    told = html.unescape(Typesetter(workspace, []).pandoc(source, f"--to={form}", "--wrap=none"))
    told = re.sub(r"\\(?=\S)|</?p>", "", told)
    assert list(filter(None, told.split("\n"))) == [
        f"before {whole.replace(' ', space)} after" for whole in WHOLE
    ]


def test_formulas_bring_their_font(workspace):
    typesetter = Typesetter(workspace, [])
    typesetter.html("No formula.", "plain.html")
    assert "@font-face" not in (workspace / "plain.html").read_text()
    typesetter.html(r"With $\left(\frac{h}{\mathbf{x}}\right)$.", "formula.html")
    (font,) = re.findall(r"data:font/woff;base64,([^)]*)", (workspace / "formula.html").read_text())
    read = TTFont(io.BytesIO(base64.b64decode(font)))
    assert {ord("("), ord("ℎ"), ord("𝒙")} <= set(read.getBestCmap()) and "MATH" in read
    assert len(read.getGlyphOrder()) < 200


@pytest.mark.parametrize(
    ("letter", "shown"),
    [("x", "𝑥"), ("h", "ℎ"), ("W", "𝑊"), ("λ", "𝜆"), ("Δ", "𝛥"), ("∂", "𝜕"), ("+", "+"), ("3", "3")],
)
def test_a_variable_of_one_letter_is_italic(letter, shown):
    assert italic(letter) == shown


@pytest.mark.parametrize(
    ("parts", "told"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_a_listing_in_words(parts, told):
    assert listing(parts) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (19_002, "19.0 k"),
        (19_130, "19.1 k"),
        (632_000, "632 k"),
        (2.523e6, "2.52 M"),
        (4e9, "4.00 G"),
        (850, "850"),
    ],
)
def test_costs_have_three_digits(value, told):
    assert magnitude(value) == told


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([10.0, 12.0, 14.0], "12.00 [7.03, 16.97]"),
        ([0.0, 2.0, 10.0], "4.00 [0.00, 17.14]"),
        ([70.0, 90.0, 95.0], "85.00 [52.14, 100.00]"),
        ([5.0], "5.00"),
    ],
)
def test_intervals_of_errors_end_where_errors_do(errors, told):
    runs = pd.DataFrame({"test_error": errors, "test_images": 10_000})
    assert interval(runs, "test_error") == told


def verdict_rows(*verdicts):
    """Verdicts as shown and as numbers: the n-th claim with n seeds to go where it is inconclusive."""
    rows = [
        {"study": "s", "claim": f"c{n}", "statement": f"Claim {n}.", "verdict": verdict, "effect": f"+{n} pp"}
        for n, verdict in enumerate(verdicts, start=1)
    ]
    numbers = [
        {"study": "s", "verdict": verdict, "seeds_needed": 20 - n if verdict == "inconclusive" else math.nan}
        for n, verdict in enumerate(verdicts)
    ]
    return rows, pd.DataFrame(numbers)


def test_the_summary_counts_and_lists_what_held_and_what_did_not():
    told = opening(*verdict_rows("supported", "inconclusive", "refuted", "inconclusive"), 12, "digits", "5")
    assert told["tested"].endswith(
        "to put 4 statements about convolutional networks to the test: 1 is supported, 2 are inconclusive and 1 is refuted."
    )
    assert told["lists"] == [
        {"title": "Supported", "claims": ["[Claim 1](#claim-s-c1): +1 pp"]},
        {"title": "Refuted", "claims": ["[Claim 3](#claim-s-c3): +3 pp"]},
    ]
    assert told["undecided"].endswith("with 17 seeds an arm if effects are as large as seen: “Claim 4”.")
    many = opening(*verdict_rows(*["supported"] * 11), 12, "digits", "5")
    assert len(many["lists"][0]["claims"]) == 9 and many["lists"][0]["claims"][-1].startswith("and 3 more")
    assert many["undecided"] == ""
    assert "no claims to test" in opening(*verdict_rows(), 12, "digits", "5")["tested"]


def test_what_was_done_to_images_is_told(workspace):
    planned = plan_of(workspace).study("depth")
    sizes = pd.DataFrame([{"train_images": 256, "validation_images": 60, "test_images": 120}])
    assert "as prepared" not in methods([planned], {planned.name: sizes})["studies"][0]["text"]
    arm = next(iter(planned.arms.values()))
    path = layout.data(arm.data_key)
    made = prepare(arm.dataset, path)
    data.write(replace(made, treated={"converted to RGB": 3, "resized": 1234}), path)
    assert (
        "test images (as prepared: 3 converted to RGB, 1,234 resized)"
        in methods([planned], {planned.name: sizes})["studies"][0]["text"]
    )


def test_the_error_of_the_test_set_is_told_apart_from_that_of_seeds():
    runs = pd.DataFrame({"test_error": [5.0, 10.0, 15.0], "test_images": 360})
    assert on_others(runs) == "[7.3, 13.5]"
    assert "on images other than these 360, drawn alike (95 %, binomial)" in error_on_others(runs)
    assert error_on_others(runs[:0]) == ""
