"""Figures from made-up runs: what stands on the axes and beside the lines, colours, and the data behind."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ablations import figures, layout
from ablations.collect import read_table
from ablations.config import COSTS, METRICS, Figure, Library
from ablations.errors import UserError
from ablations.figure_data import costs, curves, is_listed, is_wide, labels, pareto, within
from ablations.figures import of_equal_cost
from ablations.headline import LETTERS, draw_headline, draw_verdicts, in_claimed_direction
from ablations.plan import make_plan, plan_study
from ablations.plotting import ABSENCES, ABSENT, GREY, HALF, PALETTE, STYLE, WIDTH, looks, spread_out
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


def drawn(study, name, suite="digits", runs=None, **changes):
    planned = plan_study(LIBRARY, suite, study)
    figure = planned.study.figures[name].model_copy(update=changes)
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
    assert figure.get_figwidth() == (
        WIDTH if is_wide(plan_study(LIBRARY, suite, study), LIBRARY.study(study).figures[name]) else HALF
    )
    boxes = [text.get_window_extent() for ax in figure.axes for text in ax.texts]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(figure.bbox.padded(1).containsx(x) for box in boxes for x in (box.x0, box.x1))
    assert all(figure.bbox.padded(1).containsy(y) for box in boxes for y in (box.y0, box.y1))


def blank_behind(figure, names):
    """Of texts: whether nothing else of the figure is drawn where they stand, by its pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # all stays where it is
    boxes = [name.get_window_extent() for name in names]
    for ax in figure.axes:
        ax.grid(visible=False)
        for text in ax.texts:
            text.set_visible(False)
    canvas.draw()
    inked = (np.asarray(canvas.buffer_rgba())[::-1, :, :3] < 250).any(axis=2)  # from below, as the boxes
    inside = [(slice(round(b.y0), round(b.y1)), slice(round(b.x0), round(b.x1))) for b in boxes]
    return [not inked[there].any() for there in inside]


@pytest.mark.parametrize(
    ("study", "name"), [(s, n) for s, n in FIGURES if LIBRARY.study(s).figures[n].kind == "cost"]
)
def test_names_in_figures_of_cost_stand_on_no_mark_line_bar_or_run(study, name):
    figure, _ = drawn(study, name)
    texts = [text for ax in figure.axes for text in ax.texts]
    assert all(blank_behind(figure, texts)), [t.get_text() for t in texts]


def test_a_name_on_a_line_is_seen():
    figure, ax = plt.subplots()
    ax.plot([0, 1], [0, 1])
    on, beside = ax.text(0.5, 0.5, "on", ha="center", va="center"), ax.text(0.2, 0.8, "beside")
    assert blank_behind(figure, [on, beside]) == [False, True]


# ------------------------------------------------------------------------------------------ levels


def means_of(ax):
    """Marker and colour of the means of each level: marks that are larger than the dots of runs and no ends of bars."""
    means = [line for line in ax.lines if line.get_markersize() == 4 and line.get_marker() not in "|_"]
    return [(line.get_marker(), line.get_color()) for line in means]


@pytest.mark.parametrize(
    ("study", "name"), [(s, n) for s, n in FIGURES if LIBRARY.study(s).figures[n].kind != "curves"]
)
def test_a_level_has_the_look_of_its_study_in_every_figure(study, name):
    figure, _ = drawn(study, name)
    told = looks(plan_study(LIBRARY, "digits", study), LIBRARY.study(study).figures[name].colour)
    assert means_of(figure.axes[0]) == [(look.marker, look.colour) for look in told.values()]


def test_bars_and_bands_end_where_a_metric_does():
    runs = made_up(plan_study(LIBRARY, "digits", "depth"))
    runs["test_error"], runs["train_error"] = [0.0, 1.0, 5.0] * 8, [80.0, 99.0, 100.0] * 8
    figure, _ = drawn("depth", "error-by-depth", runs=runs)
    ends = [
        bar
        for ax in figure.axes
        for bars in ax.collections
        for path in bars.get_paths()
        for bar in path.vertices[:, 1]
    ]
    assert min(ends) == 0 and max(ends) == 100 and len(ends) == 32
    figure, _ = drawn("depth", "training-curves", runs=runs)
    assert max(figure.axes[0].collections[0].get_paths()[0].vertices[-1, 1], 100) <= 100


@pytest.mark.parametrize(
    ("metric", "ends"),
    [
        ("test_error", (0, 100)),
        ("gap", (-100, 100)),
        ("test_loss", (0, 1000)),
        ("images_per_second", (0, 1000)),
    ],
)
def test_an_interval_ends_where_its_metric_does(metric, ends):
    assert tuple(within(metric, [-1000, 1000])) == ends
    assert within(metric, [0.5, 2.0]) == [0.5, 2.0]


def test_levels_that_are_numbers_stand_along_an_axis_with_lines_named_at_their_ends():
    planned = plan_study(LIBRARY, "digits", "depth")
    runs = made_up(planned)
    for metric in ("train_error", "test_error"):
        runs[metric] = np.where(runs["shortcut"] == "none", 30.0, 5.0)
    figure, _ = drawn("depth", "error-by-depth", runs=runs, y=("test_error",))
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["8", "20", "32", "56"]
    assert names_in(figure) == ["shortcut none", "shortcut identity"] and not figure.legends
    assert [text.get_color() for text in figure.axes[0].texts] == [ABSENT, PALETTE[0]]
    figure, behind = drawn("depth", "error-by-depth", runs=runs)  # small panels leave names no room
    assert not names_in(figure) and figure.legends[0].get_title().get_text() == "shortcut"
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
    assert pareto(np.array([2.407, 2.533]), np.array([26.4, 22.4])).tolist() == [False, True]  # equal cost
    assert pareto(np.array([2.3, 2.533]), np.array([26.4, 22.4])).all()
    assert pareto(np.array([2.407, 2.533]), np.array([22.4, 22.4])).all()
    assert pareto(np.array([2.3, 2.533]), np.array([22.4, 22.4])).tolist() == [True, False]
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


def test_arms_of_about_equal_cost_are_named_once_above_the_axes_and_others_each_in_its_colour():
    runs = made_up(plan_study(LIBRARY, "digits", "depth"))
    runs["macs"] = runs["depth"].astype(float) * 1e5
    runs["parameters"] = runs["macs"] * np.where(runs["shortcut"] == "none", 5, 1)
    runs["test_error"] = np.where(runs["shortcut"] == "none", 30.0, 5.0) + runs["seed"]
    figure, _ = drawn("depth", "error-by-cost", runs=runs)
    named = [{(text.get_text(), text.get_color()) for text in ax.texts} for ax in figure.axes[:2]]
    assert named[0] == set(itertools.product(("8", "20", "32", "56"), (GREY,)))
    assert named[1] == set(itertools.product(("8", "20", "32", "56"), (ABSENT, PALETTE[0])))
    assert figure.legends[0].get_title().get_text() == "shortcut (at the points: depth)"
    assert of_equal_cost([(1, 0, "a", ""), (1.5, 0, "a", ""), (3, 0, "b", "")]) == pytest.approx(
        {"a": 1.5**0.5, "b": 3}
    )
    assert of_equal_cost([(1, 0, "a", ""), (3, 0, "a", ""), (4, 0, "b", "")]) == {}  # too far apart
    assert of_equal_cost([(1, 0, "a", ""), (1.5, 0, "a", ""), (1.2, 0, "b", "")]) == {}  # mixed


def test_every_run_stands_within_the_axes_of_cost():
    runs = made_up(plan_study(LIBRARY, "digits", "depth"), seeds=5)
    runs.loc[0, "seconds"], runs.loc[9, "seconds"] = 0.01, 900
    figure, _ = drawn("depth", "error-by-cost", runs=runs)
    low, high = figure.axes[2].get_xlim()
    assert low < 0.01 and high > 900


def test_an_arm_that_its_colour_tells_has_no_name():
    runs = made_up(plan_study(LIBRARY, "digits", "growth_rate"))
    runs["test_error"] = runs["macs"] / 1e5  # apart, on the diagonal
    figure, _ = drawn("growth_rate", "error-by-cost", runs=runs)
    assert {"4", "8", "12"} == set(names_in(figure))


@pytest.mark.parametrize(("shortened", "named"), [(True, True), (False, False)])
def test_arms_of_a_single_factor_are_named_where_there_is_room(shortened, named, monkeypatch):
    runs = made_up(plan_study(LIBRARY, "digits", "regularisation"))
    apart = runs.assign(test_error=np.arange(len(runs)) // 3 * 5.0, seconds=np.arange(len(runs)) // 3 + 1)
    names_of = figures.names_of_arms
    if shortened:
        monkeypatch.setattr(
            figures,
            "names_of_arms",
            lambda *these: [(x, y, name[:2], c) for x, y, name, c in names_of(*these)],
        )
    figure, _ = drawn("regularisation", "error-by-time", runs=apart)
    whole = [level[:2] for level in labels(plan_study(LIBRARY, "digits", "regularisation"), "method")]
    assert names_in(figure) == (whole if named else []) and bool(figure.legends) != named
    together = runs.assign(test_error=5.0, seconds=np.arange(len(runs)) / 1000 + 1)
    figure, _ = drawn("regularisation", "error-by-time", runs=together)
    assert names_in(figure) == [] and figure.legends


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


def test_runs_that_diverged_at_the_same_place_have_one_cross_with_their_number():
    planned = plan_study(LIBRARY, "digits", "bottleneck")
    runs = made_up(planned)
    runs.loc[:2, ["status", "train_error"]] = "diverged", 90.0
    history = history_of(runs)
    history = history[~history["run"].isin(["0-0", "0-1", "0-2"]) | (history["epoch"] < 3)]
    history.loc[history["run"] == "0-2", "train_error"] = 50.0
    figures.draw_curves(planned, planned.study.figures["training-curves"], runs, history)
    crosses = [line for line in plt.gca().lines if line.get_marker() == "x"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in crosses] == [(2, 180), (2, 50)]
    assert names_in(plt.gcf())[0] == "×2"


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


@pytest.mark.parametrize("suite", ["digits", "cifar10"])
@pytest.mark.parametrize("study", LIBRARY.names("studies"))
def test_no_colour_comes_twice_where_there_are_enough(study, suite):
    planned = plan_study(LIBRARY, suite, study)
    for factor in planned.factors:
        colours = [look.colour for level, look in looks(planned, factor).items() if level not in ABSENCES]
        assert len(set(colours)) == len(colours) or len(colours) > len(PALETTE)


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
        {"claim": "plain-networks-degrade-with-depth", "effect": 60.0, "low": 50.0, "high": 70.0},  # greater
        {"claim": "residual-networks-do-not-degrade", "effect": 0.5, "low": -0.1, "high": 1.1},  # not_greater
        {"claim": "residual-networks-beat-plain-ones", "effect": -60.0, "low": -70.0, "high": -50.0},  # less
    ]
    speed = {"study": "regularisation", "claim": "stochastic-depth-saves-time"}
    rows = [{**common, **row} for row in rows]
    first = {"effect_first": 9.0, "low_first": 7.0, "high_first": 11.0}
    second = {"effect_second": -2.0, "low_second": -5.0, "high_second": 1.0}
    crossing = {"claim": "depth-helps-only-with-shortcuts", **first, **second}
    rows.append({**common, **crossing, "effect": 11.0, "low": 10.0, "high": 12.0})
    rows.append({**common, **speed, "effect": 1.0, "low": 0.0, "high": 2.0})
    rows.append({**common, **speed, "claim": "linear-depth-rule-beats-uniform", "verdict": "not tested"})
    path = layout.report("digits", "report", "md").parent / "figures" / "report-verdicts.svg"
    draw_headline(plan, pd.DataFrame(rows), path)
    table = read_table(path.with_suffix(".csv"))
    assert table["effect"].tolist()[:5] == [60, -0.5, 60, 9, 25]
    assert table["second"].tolist()[3] == 2 and table["second"].notna().sum() == 1
    assert table["low"].tolist()[:4] == pytest.approx([50, -1.1, 50, 7])
    assert table.loc[3, ["high", "second_low", "second_high"]].tolist() == [11, -1, 5]
    assert table["unit"].tolist() == ["pp", "pp", "pp", "pp", "%", "pp"]
    assert path.is_file()


def test_a_crossover_in_another_unit_is_shown_in_percent_of_the_other_side():
    name = "depth-helps-only-with-shortcuts"
    crossing = LIBRARY.study("depth").claims[name].model_copy(update={"metric": "train_loss"})
    study = SimpleNamespace(claims={name: crossing})
    plan = SimpleNamespace(study=lambda _: SimpleNamespace(study=study))
    numbers = {"first": (0.9, 0.7, 1.1), "second": (-0.2, -0.5, 0.1)}
    row = {"study": "depth", "claim": name, "verdict": "supported", "mean_than": 2.0}
    row |= {
        f"{what}_{place}": number
        for place, three in numbers.items()
        for what, number in zip(("effect", "low", "high"), three, strict=True)
    }
    (shown,) = in_claimed_direction(plan, pd.DataFrame([row])).to_dict("records")
    assert (shown["unit"], shown["effect"], shown["second"]) == ("%", 45, 10)


def titles(figure):
    return [text for text in figure.axes[0].texts if text.get_fontweight() == "bold"]


def test_titles_of_studies_cross_no_line_and_one_study_has_none():
    plan = make_plan(LIBRARY, "digits")
    row = {"verdict": "supported", "effect": 3.0, "low": 1.0, "high": 5.0, "margin": 1.0}
    row |= dict.fromkeys(("second", "second_low", "second_high"), np.nan)
    rows = [
        {**row, "study": study, "claim": claim, "unit": "pp"}
        for study in ("depth", "layer_norm", "regularisation")
        for claim in plan.study(study).study.claims
    ]
    table = pd.DataFrame(rows)
    draw_verdicts(plan, table)
    figure = plt.gcf()
    figure.canvas.draw()
    named = titles(figure)
    assert [title.get_text() for title in named] == [
        plan.study(study).study.title for study in ("depth", "layer_norm", "regularisation")
    ]
    assert any(title.get_window_extent().x1 > figure.axes[0].bbox.x0 + 50 for title in named)
    assert all(blank_behind(figure, named))
    draw_verdicts(plan, table[table["study"] == "depth"])
    assert not titles(plt.gcf())


def test_a_claim_is_told_in_its_short_form_or_by_its_statement():
    plan = make_plan(LIBRARY, "digits")
    row = {
        "verdict": "supported",
        "effect": 3.0,
        "low": 1.0,
        "high": 5.0,
        **dict.fromkeys(("second", "second_low", "second_high"), np.nan),
        "margin": 1.0,
        "unit": "pp",
    }
    short = {**row, "study": "depth", "claim": "residual-networks-do-not-degrade"}
    whole = {**row, "study": "vgg_depth", "claim": next(iter(LIBRARY.study("vgg_depth").claims))}
    draw_verdicts(plan, pd.DataFrame([short, whole]))
    told = [tick.get_text() for tick in plt.gca().get_yticklabels()]
    assert told[0] == "Deeper residual networks: training error no higher"
    assert told[1].replace("\n", " ") == LIBRARY.study("vgg_depth").claims[whole["claim"]].statement.rstrip(
        "."
    )


@pytest.mark.parametrize("study", LIBRARY.names("studies"))
def test_short_forms_fit_a_line(study):
    for claim in LIBRARY.study(study).claims.values():
        assert claim.short is None or len(claim.short) <= LETTERS


@pytest.mark.parametrize("study", LIBRARY.names("studies"))
def test_the_name_of_a_claim_is_a_short_statement(study):
    for claim in LIBRARY.study(study).claims:
        assert len(claim) <= 35 and len(claim.split("-")) >= 3, claim
        assert claim.split("-")[-1] not in ("it", "not", "do"), claim


def test_a_report_without_claims_has_no_headline(workspace):
    none = pd.DataFrame(columns=["study", "claim"])
    draw_headline(make_plan(LIBRARY, "digits"), none, path := layout.REPORT / "x.svg")
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
