"""Figures from made-up runs: what stands on the axes and beside the lines, colours, and the data behind."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ablations import figures, layout
from ablations.collect import read_table, write_table
from ablations.config import COSTS, METRICS, Figure, Library
from ablations.errors import UserError
from ablations.figure_data import costs, curves, is_listed, labels, pareto
from ablations.headline import draw_headline
from ablations.plan import make_plan, plan_study
from ablations.plotting import ABSENT, PALETTE, STYLE, looks, spread_out
from ablations.schema import validate

LIBRARY = Library()
FIGURES = [(study, name) for study in LIBRARY.names("studies") for name in LIBRARY.study(study).figures]


@pytest.fixture(autouse=True)
def styled():
    with plt.rc_context(STYLE):
        yield
        plt.close("all")


def made_up(planned, seeds=3):
    """A table of runs for a planned study."""
    random = np.random.default_rng(0)
    rows = [
        {"network": "net", **planned.levels(key), "seed": seed, "run": f"{number}-{seed}"}
        | {"macs": 1e6 * (number + 1), "parameters": 1e5 * (number + 1), "status": "finished"}
        | dict.fromkeys(("test_images", "train_images", "validation_images"), 100)
        for (number, key), seed in itertools.product(enumerate(planned.arms), range(seeds))
    ]
    runs = pd.DataFrame(rows)
    for metric in (metric for metric in METRICS if metric not in ("macs", "parameters")):
        runs[metric] = random.uniform(1, 40, len(runs))
    for name, factor in planned.factors.items():
        levels = [level.label for level in factor.levels]
        runs[name] = pd.Categorical(runs[name], levels, ordered=True)
    return runs


def history_of(runs, epochs=3):
    """Histories that fall by a half each epoch, from twice a run's last value."""
    return pd.concat(
        runs[["run"]].assign(epoch=epoch, **{m: runs[m] * 2.0 ** (epochs - epoch) for m in METRICS})
        for epoch in range(1, epochs + 1)
    )


def drawn(study, name, suite="digits", runs=None):
    planned = plan_study(LIBRARY, suite, study)
    figure = planned.study.figures[name]
    runs = made_up(planned) if runs is None else runs
    behind = figures.KINDS[figure.kind](planned, figure, runs, history_of(runs))
    return plt.gcf(), behind


def names_in(figure):
    """What stands in the axes as text, beside ticks and titles."""
    return [text.get_text() for ax in figure.axes for text in ax.texts]


@pytest.mark.parametrize("suite", ["digits", "cifar10"])
@pytest.mark.parametrize(("study", "name"), FIGURES)
def test_names_overlap_neither_each_other_nor_the_edge_of_the_figure(study, name, suite, tmp_path):
    figure, _ = drawn(study, name, suite)
    figure.savefig(tmp_path / "figure.svg")
    assert figure.get_figwidth() <= 7.2
    boxes = [text.get_window_extent() for ax in figure.axes for text in ax.texts]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(figure.bbox.padded(1).containsx(x) for box in boxes for x in (box.x0, box.x1))
    assert all(figure.bbox.padded(1).containsy(y) for box in boxes for y in (box.y0, box.y1))


# ------------------------------------------------------------------------------------------ levels


def test_levels_that_are_numbers_stand_along_an_axis_with_lines_named_at_their_ends():
    planned = plan_study(LIBRARY, "digits", "depth")
    runs = made_up(planned)
    for metric in ("train_error", "test_error"):
        runs[metric] = np.where(runs["shortcut"] == "none", 30.0, 5.0)
    figure, behind = drawn("depth", "error-by-depth", runs=runs)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["8", "20", "32", "56"]
    assert names_in(figure) == ["none", "identity"] and not figure.legends
    assert [text.get_color() for text in figure.axes[1].texts] == [ABSENT, PALETTE[0]]
    assert list(behind.columns) == ["shortcut", "depth", "seed", "train_error", "test_error"]
    assert len(behind) == 24


def test_lines_that_do_not_end_at_the_same_place_have_a_legend():
    figure, _ = drawn("growth_rate", "error-by-growth-rate")
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["4", "8", "12", "none"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "dense-BC", "ResNet"]
    assert figure.legends[0].get_title().get_text() == "kind" and not names_in(figure)


def test_levels_that_are_words_stand_below_each_other():
    figure, _ = drawn("regularisation", "error-by-method")
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert ticks[:2] == ["none", "dropout 0.3"] and figure.axes[0].yaxis_inverted()
    assert not figure.legends  # the labels say it all


def test_an_axis_of_errors_shows_at_least_a_percent():
    runs = made_up(plan_study(LIBRARY, "digits", "depth")).assign(train_error=0.0)
    figure, _ = drawn("depth", "error-by-depth", runs=runs)
    assert figure.axes[0].get_ylim()[1] >= 1


def test_runs_without_a_metric_leave_the_figure_empty():
    runs = made_up(plan_study(LIBRARY, "digits", "weight_decay")).assign(sparsity=np.nan)
    figure, behind = drawn("weight_decay", "sparsity", runs=runs)
    assert figure.axes and behind["sparsity"].isna().all()


@pytest.mark.parametrize(
    ("heights", "apart"),
    [
        ([50, 20], [50, 20]),
        ([20, 20], [25, 15]),
        ([0, 0, 2], [0, 10, 20]),
        ([100, 100], [100, 90]),
    ],
)
def test_names_move_as_little_as_possible(heights, apart):
    assert sorted(spread_out(np.array(heights, float), 100)) == pytest.approx(sorted(apart))


# ------------------------------------------------------------------------------------------ cost


def test_the_front_has_what_no_other_point_matches_in_both_and_beats_in_one():
    x, y = np.array([1, 1, 2, 3, 4.0]), np.array([9, 8, 8, 5, 6.0])
    assert pareto(x, y).tolist() == [False, True, False, True, False]
    assert pareto(np.array([1.0, 1]), np.array([2.0, 2])).all()
    assert pareto(np.array([]), np.array([])).tolist() == []


def test_training_time_is_the_median_of_the_runs_that_finished():
    planned = plan_study(LIBRARY, "digits", "bottleneck")
    runs = made_up(planned)
    runs["seconds"] = [3, 1, 0.1, 5, 5, 5, 7, 7, 7]
    runs.loc[[2, 6, 7, 8], "status"] = "diverged"
    arms = costs(planned, runs, "seconds", "test_error")
    assert arms["seconds"].tolist() == [2, 5]
    assert arms["block"].tolist() == ["basic", "bottleneck (equal MACs)"]


def test_a_panel_a_cost_with_the_front_in_the_legend_and_in_the_data():
    planned = plan_study(LIBRARY, "digits", "depth")
    runs = made_up(planned).assign(test_error=lambda runs: runs["macs"] / 1e5)
    figure, behind = drawn("depth", "error-by-cost", runs=runs)
    assert [ax.get_xlabel() for ax in figure.axes] == [METRICS[cost] for cost in COSTS]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "Pareto front"
    assert behind[behind["front_macs"]][["shortcut", "depth"]].drop_duplicates().to_numpy().tolist() == [
        ["none", "8"]
    ]
    assert {"8", "56"} <= set(names_in(figure)) and figure.axes[0].get_xscale() == "log"


def test_arms_of_a_single_factor_are_named_where_there_is_room():
    runs = made_up(plan_study(LIBRARY, "digits", "regularisation"))
    apart = runs.assign(test_error=np.arange(len(runs)) // 3 * 5.0, seconds=np.arange(len(runs)) // 3 + 1)
    figure, _ = drawn("regularisation", "error-by-time", runs=apart)
    assert names_in(figure) == labels(plan_study(LIBRARY, "digits", "regularisation"), "method")
    assert not figure.legends
    together = runs.assign(test_error=5.0, seconds=np.arange(len(runs)) / 1000 + 1)
    figure, _ = drawn("regularisation", "error-by-time", runs=together)
    assert not names_in(figure) and figure.legends
    figure, _ = drawn("cardinality", "error-by-cost")
    assert not names_in(figure) and figure.legends


# ------------------------------------------------------------------------------------------ curves


def test_a_run_that_diverged_goes_on_as_guessing():
    planned = plan_study(LIBRARY, "digits", "bottleneck")
    runs = made_up(planned, seeds=2)
    runs.loc[0, ["status", "train_error"]] = "diverged", 90.0
    history = history_of(runs)
    history = history[(history["run"] != "0-0") | (history["epoch"] == 1)]
    lines = curves(planned, planned.study.figures["training-curves"], runs, history)
    of_run = lines[lines["run"] == "0-0"]
    assert of_run["status"].tolist() == ["finished", "diverged", "diverged"]
    assert of_run["train_error"].tolist() == [360, 90, 90] and len(lines) == 18


def test_the_mean_of_curves_ends_with_the_first_run_that_stops():
    planned = plan_study(LIBRARY, "digits", "bottleneck")
    runs = made_up(planned)
    history = history_of(runs)
    history = history[(history["run"] != "0-0") | (history["epoch"] < 3)]
    figures.draw_curves(planned, planned.study.figures["training-curves"], runs, history)
    (mean,) = (line for line in plt.gca().lines if line.get_label() == "basic")
    assert list(mean.get_xdata()) == [1, 2] and len(plt.gca().collections) == 3


# ------------------------------------------------------------------------------------------ colours


def test_a_suite_with_fewer_levels_changes_no_colour():
    whole, part = (plan_study(LIBRARY, suite, "batch_norm") for suite in ("cifar10", "digits"))
    for factor in whole.factors:
        told = looks(whole, factor)
        shared = {k: v for k, v in looks(part, factor).items() if k in told}
        assert shared and shared == {level: told[level] for level in shared}


def test_the_usual_level_is_blue_none_all_but_black_and_numbers_alike_in_every_study():
    depth, norms = (plan_study(LIBRARY, "digits", name) for name in ("depth", "layer_norm"))
    assert looks(depth, "shortcut")["identity"].colour == looks(norms, "norm")["batch"].colour == PALETTE[0]
    assert looks(depth, "shortcut")["none"] == looks(norms, "norm")["none"]
    orders = plan_study(LIBRARY, "digits", "batch_norm")
    assert looks(depth, "depth")["20"] == looks(orders, "depth")["20"]


@pytest.mark.parametrize("study", LIBRARY.names("studies"))
def test_no_two_levels_look_alike(study):
    planned = plan_study(LIBRARY, "cifar10", study)
    for factor in planned.factors:
        told = looks(planned, factor)
        assert len(set(told.values())) == len(told) == len(labels(planned, factor))


def test_numbers_go_from_light_to_dark_in_their_order():
    planned = plan_study(LIBRARY, "cifar10", "double_descent")
    colours = [plt.matplotlib.colors.to_rgb(look.colour) for look in looks(planned, "width").values()]
    light = [0.3 * r + 0.59 * g + 0.11 * b for r, g, b in colours]
    assert light == sorted(light, reverse=True)


def test_a_level_none_among_numbers_leaves_the_axis():
    planned = plan_study(LIBRARY, "digits", "growth_rate")
    assert not is_listed(planned, planned.study.figures["error-by-growth-rate"])
    figure = Figure(kind="levels", x="kind", y=["test_error"], colour="kind", title="t")
    assert is_listed(planned, figure)


# ------------------------------------------------------------------------------------------ headline


def test_the_headline_turns_every_claim_to_the_right(workspace):
    plan = make_plan(LIBRARY, "digits")
    common = {"study": "depth", "verdict": "supported", "mean_than": 4.0, "reason": ""}
    rows = [
        {"claim": "plain-degrades", "effect": 60.0, "low": 50.0, "high": 70.0},  # greater
        {"claim": "residual-does-not", "effect": 0.5, "low": -0.1, "high": 1.1},  # not_greater
        {"claim": "residual-beats-plain", "effect": -60.0, "low": -70.0, "high": -50.0},  # less
    ]
    speed = {"study": "regularisation", "claim": "stochastic-depth-saves-time"}
    rows = [{**common, **row} for row in rows]
    crossing = {"claim": "depth-helps-only-with-shortcuts", "effect_first": 9.0, "effect_second": -2.0}
    rows.append({**common, **crossing, "effect": 11.0, "low": 10.0, "high": 12.0})
    rows.append({**common, **speed, "effect": 1.0, "low": 0.0, "high": 2.0})
    rows.append({**common, **speed, "claim": "linear-beats-uniform", "verdict": "not tested"})
    write_table(pd.DataFrame(rows), layout.verdicts("digits", "report"))
    path = layout.report("digits", "report", "md").parent / "figures" / "report-verdicts.svg"
    draw_headline(plan, "report", path)
    table = read_table(path.with_suffix(".csv"))
    assert table["effect"].tolist()[:5] == [60, -0.5, 60, 9, 25]
    assert table["second"].tolist()[3] == 2 and table["second"].notna().sum() == 1
    assert table["low"].tolist()[:3] == pytest.approx([50, -1.1, 50])
    assert table["unit"].tolist() == ["pp", "pp", "pp", "pp", "%", "pp"]
    assert path.is_file()


def test_a_report_without_claims_has_no_headline(workspace):
    write_table(pd.DataFrame(columns=["study", "claim"]), layout.verdicts("digits", "report"))
    draw_headline(make_plan(LIBRARY, "digits"), "report", path := layout.REPORT / "x.svg")
    assert not path.exists()


# ------------------------------------------------------------------------------------------ definitions


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"x": "flops"},
            "`x` of a cost figure is macs, parameters or seconds, or a list of them, found ['flops']",
        ),
        ({"x": ["macs", "macs"]}, "or a list of them, found ['macs', 'macs']"),
        ({"x": []}, "or a list of them, found []"),
        ({"y": ["images_per_second"]}, "a cost figure takes one error or loss as `y`"),
        ({"y": ["train_error", "test_error"]}, "a cost figure takes one error or loss as `y`"),
        ({"kind": "levels", "x": ["a", "b"]}, "a figure of levels takes a factor as `x`"),
        ({"kind": "curves", "y": ["train_loss", "train_error"]}, "curves takes one metric as `y`"),
    ],
)
def test_faults_of_a_figure_are_told_in_one_line(changes, told):
    usual = {"kind": "cost", "x": "macs", "y": ["test_error"], "colour": "a", "title": "t"}
    with pytest.raises(UserError) as caught:
        validate(Figure, {**usual, **changes}, "here")
    assert told in str(caught.value) and "\n" not in str(caught.value)
