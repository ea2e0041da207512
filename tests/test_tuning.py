"""What tuning changes, on made-up tables: nothing is trained."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes

from ablations import layout
from ablations.collect import read_table, write_table
from ablations.config import Library
from ablations.files import write_text
from ablations.plan import make_plan
from ablations.space import Choice, Range
from ablations.tuning import (
    at_a_time,
    bins,
    budget,
    decades,
    ranges,
    ranking,
    read_trials,
    sensitivity,
    setting,
    tuning,
    working_rates,
)
from ablations.tuning_figures import captions, colour_and_others, draw_search, in_panels
from ablations.verdicts import COLUMNS

matplotlib.use("svg")

STUDY = """
title: Norms
question: Which norm?
background: Some.
factors: {factors}
claims:
  group-is-worse:
    statement: Group norm has the higher error.
    kind: greater
    metric: test_error
    arm: {{norm: group}}
    than: {{norm: batch}}
    margin: 1
    source: he2016
    published: none
  group-is-no-worse:
    statement: Group norm does not have the higher error.
    kind: not_greater
    metric: test_error
    arm: {{norm: group}}
    than: {{norm: batch}}
    margin: 1
    source: he2016
    published: none
search: {search}
"""
SUITE = """
title: made up
data: digits-small
seeds: 3
recipe: {epochs: 3, batch_size: 64, learning_rate: 0.05}
model: {depth: 8}
studies: {norms: {}}
"""
SEARCH = (
    "{trials: 4, seeds: 2, space: {learning_rate: {low: 0.01, high: 1, log: true}, batch_size: [32, 64]}}"
)
NORMS = "{norm: [batch, group, none]}"
RATE, BATCH = "recipe.learning_rate", "recipe.batch_size"


def planned(folder, factors=NORMS, search=SEARCH):
    """The plan of a study of norms, and the study."""
    text = STUDY.format(factors=factors, search=search)
    if factors != NORMS:  # the claims are about these
        head, _, tail = text.partition("claims:")
        text = head + "search:" + tail.partition("search:")[2]
    write(folder / "my" / "studies" / "norms.yaml", text)
    write(folder / "my" / "suites" / "mine.yaml", SUITE)
    plan = make_plan(Library(folder / "my"), "mine")
    return plan, plan.study("norms")


def runs(errors):
    """A table of runs with these test errors of 100 images, by norm."""
    return pd.DataFrame(
        {"norm": norm, "seed": seed, "test_error": float(error), "test_images": 10_000}
        for norm, values in errors.items()
        for seed, error in enumerate(values)
    )


def verdicts(report, *rows):
    """The table of verdicts of a report."""
    table = pd.DataFrame(rows, columns=["claim", "verdict", "effect", "low", "high"])
    write_table(
        table.assign(study=report, method="welch").reindex(columns=COLUMNS), layout.verdicts("mine", report)
    )


def trials(planned, *rows):
    """A table of trials: level of each factor, state, error, settings in the order of the space."""
    columns = [
        *planned.factors,
        "trial",
        "place",
        "state",
        "reason",
        "validation_error",
        *planned.search.space,
    ]
    numbered = [
        [
            *row[: len(planned.factors)],
            number,
            number,
            row[len(planned.factors)],
            "",
            *row[len(planned.factors) + 1 :],
        ]
        for number, row in enumerate(rows)
    ]
    table = pd.DataFrame(numbered, columns=columns).assign(worker="w")
    table["started"] = [f"2026-01-01 00:00:{number:02}.000000" for number in range(len(table))]
    table["seconds"] = 1.0
    write_table(table, layout.trials("mine", "norms"))
    return table


OWN = {"batch": [10, 12, 14], "group": [20, 20, 20], "none": [30, 33, 36]}
TUNED = {"batch": [6, 8, 10], "group": [5, 5, 5], "none": [9, 9, 9]}


@pytest.fixture
def found(workspace):
    """What the report is told of the tuning of three arms."""
    plan, study = planned(workspace)
    trials(
        study,
        *(("batch", state, 20.0 + n, 0.05 * (1 + n), 64) for n, state in enumerate(["finished", "pruned"])),
        *(("batch", "finished", 12.5, 0.4, 32), ("batch", "finished", 16.0, 0.2, 32)),
        *(("group", "failed", None, 0.1, 64), ("group", "finished", 30.0, 0.1, 64)),
        *(("none", "pruned", 80.0, 0.1, 64),),
    )
    best = {"batch": {RATE: 0.4, BATCH: 32}, "group": {RATE: 0.1234567}, "none": {}}
    arms = "\n".join(
        f"- {{levels: {{norm: {norm}}}, settings: {settings}}}" for norm, settings in best.items()
    )
    write_text(layout.best("mine", "norms"), f"arms:\n{arms}\n")
    write_table(runs(OWN), layout.study_table("mine", "norms", "runs"))
    verdicts(
        "norms",
        ("group-is-worse", "supported", 8.0, 3.0, 13.0),
        ("group-is-no-worse", "refuted", 8.0, 3.0, 13.0),
    )
    verdicts(
        "norms-tuned",
        ("group-is-worse", "refuted", -3.0, -7.97, 1.97),
        ("group-is-no-worse", "refuted", -3.0, -7.97, 1.97),
    )
    tuned = plan.study("norms-tuned")
    table = runs(TUNED)
    table["norm"] = pd.Categorical(table["norm"], list(TUNED), ordered=True)
    return tuning(plan, tuned, table)


def test_each_arm_has_both_errors_with_their_intervals_and_welchs_difference(found):
    # Both have a standard deviation of 2 over 3 seeds: t(0.975, 2) 2 / sqrt(3) = 4.97; the difference
    # t(0.975, 4) sqrt(2 4 / 3) = 4.53.
    row = found["arms"][0]
    assert row["levels"] == ("batch",)
    assert (row["own"], row["tuned"]) == ("12.00 ± 4.97", "8.00 ± 4.97")
    assert row["difference"] == "−4.00 pp [−8.53, +0.53]"
    assert row["means"] == (12, 8)


def test_the_settings_found_are_printed_in_the_order_of_the_space(found):
    assert found["fields"] == ["learning rate", "batch size"] and found["factors"] == ["Norm"]
    assert [row["settings"] for row in found["arms"]] == [["0.4", "32"], ["0.123", "–"], ["–", "–"]]
    assert [setting(value) for value in (None, 0.00012345, 5, True, "adam")] == [
        *("–", "0.000123", "5", "True", "adam")
    ]


@pytest.mark.filterwarnings("error")
def test_arms_with_one_run_or_none_have_no_interval_and_no_nan(workspace):
    plan, study = planned(workspace)
    trials(study, ("batch", "finished", 20.0, 0.05, 64))
    arms = "\n".join(f"- {{levels: {{norm: {norm}}}, settings: {{}}}}" for norm in OWN)
    write_text(layout.best("mine", "norms"), f"arms:\n{arms}\n")
    write_table(
        runs({"batch": [10], "group": [20, 22], "none": [30]}), layout.study_table("mine", "norms", "runs")
    )
    untested = [(name, "not tested", None, None, None) for name in study.study.claims]
    verdicts("norms", *untested)
    verdicts("norms-tuned", *untested)
    table = runs({"batch": [8], "group": [7]})
    table["norm"] = pd.Categorical(table["norm"], list(OWN), ordered=True)
    told = tuning(plan, plan.study("norms-tuned"), table)
    rows = [(row["own"], row["tuned"], row["difference"]) for row in told["arms"]]
    assert rows[0] == ("10.00", "8.00", "−2.00 pp")
    assert rows[1][1:] == ("7.00", "−14.00 pp") and rows[2] == ("30.00", "–", "–")
    assert "*batch* with the arms' own settings, and of *group* tuned" in told["ranking"]
    assert "nan" not in str(told["ranking"]) + str(rows)
    assert [row["sides"] for row in told["verdicts"]] == [["**not tested** –"] * 2] * 2


# ------------------------------------------------------------------------------------------ rates that work


def rates(*rows, low=0.001, high=1.0, arms="[batch]"):
    """The sensitivity of trials (norm, state, error, learning rate) in a space of these rates."""
    search = f"{{trials: 9, space: {{learning_rate: {{low: {low}, high: {high}, log: true}}, batch_size: [32, 64]}}}}"
    _, study = planned(Path.cwd(), f"{{norm: {arms}}}", search)
    trials(study, *((*row, 64) for row in rows))
    return sensitivity(study, read_trials("mine", study))


def test_bins_of_rates_are_even_on_a_logarithmic_scale_and_of_a_choice_one_a_value():
    edges = bins(Range(low=0.001, high=1.0, log=True))
    assert len(edges) == 10 and np.allclose(np.diff(np.log10(edges)), 1 / 3)
    assert len(bins(Range(low=0.1, high=0.11))) == 3
    assert bins(Choice(choices=(0.4, 0.1))) == pytest.approx([0.1, 0.2, 0.4])


def test_a_bin_has_its_lowest_errors_and_works_near_the_lowest_of_the_arm(workspace):
    table = rates(
        ("batch", "finished", 10.0, 0.0015),
        ("batch", "finished", 15.0, 0.003),  # 5 points above the lowest
        ("batch", "finished", 40.0, 0.0031),  # another setting of the same bin spoils nothing
        ("batch", "finished", 15.1, 0.006),
        ("batch", "pruned", 3.0, 0.012),  # on the way: no sign that the rate works
        ("batch", "failed", None, 0.9),
    )
    assert list(table["lowest"][:3]) == [10, 15, 15.1] and table["lowest"][3:].isna().all()
    assert list(table["stopped_at"].dropna()) == [3.0] and table["stopped_at"][3] == 3.0
    assert list(table["finished"]) == [1, 2, 1, 0, 0, 0, 0, 0, 0]
    assert list(table["works"]) == [True, True] + [False] * 7
    assert decades(table) == pytest.approx(2 / 3) and working_rates(table) == "0.001 to 0.0046 (0.7)"


def test_a_range_has_gaps_where_trials_failed_and_none_where_there_were_no_trials(workspace):
    edges = [("batch", "finished", 10.0, rate) for rate in (0.0015, 0.7)]
    table = rates(*edges)
    assert table["works"].all() and working_rates(table) == "0.001 to 1 (3.0)"  # nothing speaks against it
    for bad in (("batch", "finished", 60.0, 0.03), ("batch", "pruned", 9.0, 0.03)):
        table = rates(*edges, bad)
        assert list(table["works"]) == [True, False, False, False, False, False, False, False, True]
        assert working_rates(table) == "0.001 to 0.0022, 0.46 to 1 (0.7)"


def test_no_rate_works_of_an_arm_that_does_not_train(workspace):
    table = rates(*(("batch", "finished", 85.0, rate) for rate in (0.01, 0.1)))
    assert not table["works"].any() and decades(table) == 0 and working_rates(table) == "–"
    table = rates(("batch", "pruned", 20.0, 0.1), ("batch", "failed", None, 0.1))
    assert not table["works"].any()


@given(
    st.lists(
        st.tuples(st.sampled_from(["finished", "pruned", "failed"]), st.floats(0, 100), st.floats(-3, 0)),
        max_size=30,
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_trial_is_in_one_bin_and_the_best_works_if_it_trains(workspace, made_up):
    rows = [
        ("batch", state, None if state == "failed" else error, 10**exponent)
        for state, error, exponent in made_up
    ]
    table = rates(*rows)
    for state in ("finished", "pruned"):
        assert table[state].sum() == [row[1] for row in rows].count(state)
    finished = [row for row in rows if row[1] == "finished"]
    if finished and min(row[2] for row in finished) <= 50:
        best = table.loc[table["lowest"].idxmin()]
        assert best["works"] and best["lowest"] == min(row[2] for row in finished)
        assert 1 / 3 <= decades(table) + 1e-9 <= 3 + 2e-9
    else:
        assert not table["works"].any()


def told_of_ranges(*arms):
    """The sentence on arms of one factor: (level, decades, own error, tuned error)."""
    factors = {"norm": None}
    rows = [{"levels": (name,), "decades": width, "means": means} for name, width, *means in arms]
    return ranges(SimpleNamespace(factors=factors), rows)


def test_whether_an_advantage_is_mostly_a_wider_range_is_told_by_what_tuning_leaves_of_it():
    begins = "By norm, the learning rates that work span 2.0 decades with *batch*, the most, and 0.3 with *none*, the fewest."
    told = told_of_ranges(("batch", 2.0, 10.0, 8.0), ("group", 1.5, 12.0, 8.0), ("none", 0.3, 40.0, 9.5))
    assert told == (
        f"{begins} With the arms' own settings *none* errs by 30.0 points more, tuned, only 1.5: what *batch* has over it "
        "is mostly a wider range of learning rates."
    )
    told = told_of_ranges(("batch", 2.0, 10.0, 8.0), ("none", 0.3, 40.0, 7.0))
    assert "tuned, not even a point: what *batch* has over it is mostly a wider range" in told
    told = told_of_ranges(("batch", 2.0, 10.0, 8.0), ("none", 0.3, 40.0, 33.0))
    assert told == (
        f"{begins} With the arms' own settings *none* errs by 30.0 points more, tuned, still 25.0: what *batch* has over "
        "it is mostly not its wider range of learning rates."
    )
    told = told_of_ranges(("batch", 2.0, 10.0, 8.0), ("none", 0.3, 9.0, 8.0))
    assert told == f"{begins} With the arms' own settings that is no advantage in the test error."
    told = told_of_ranges(("batch", 2.0, 10.0, 8.0), ("none", 1.8, 40.0, 8.0))
    assert told == (
        "By norm, the learning rates that work span 2.0 decades with *batch* and hardly fewer with the other levels."
    )
    assert told_of_ranges(("batch", 2.0, 10.0, math.nan), ("none", 0.3, 9.0, 8.0)) == begins
    assert told_of_ranges(("batch", 2.0, 10.0, 8.0)) == ""
    assert told_of_ranges(("batch", None, 10.0, 8.0), ("none", None, 9.0, 8.0)) == ""


def test_levels_are_compared_by_the_means_over_the_arms_of_the_other_factors():
    factors = {"norm": None, "depth": None}
    arms = [
        {"levels": (norm, depth), "decades": width, "means": means}
        for norm, depth, width, means in [
            ("batch", "8", 2.0, (10, 10)),
            ("batch", "20", 1.0, (20, 12)),
            ("none", "8", 1.0, (30, 20)),
            ("none", "20", 0.0, (60, 42)),
        ]
    ]
    by_norm, by_depth = ranges(SimpleNamespace(factors=factors), arms).split(" By ")
    assert "1.5 decades with *batch*, the most, and 0.5 with *none*" in by_norm
    assert "*none* errs by 30.0 points more, tuned, still 20.0" in by_norm
    assert (
        "depth, the learning rates that work span 1.5 decades with *8*, the most, and 0.5 with *20*"
        in by_depth
    )


def test_the_report_is_told_of_rates_only_where_they_are_searched(found, workspace):
    assert [row["works"] for row in found["arms"]] == ["0.1 to 0.46 (0.7)", "0.1 to 0.22 (0.3)", "–"]
    assert "By norm, the learning rates that work span 0.7 decades with *batch*" in found["ranking"]


def test_arms_that_err_alike_have_no_rank_correlation():
    arms = [{"levels": [name], "means": (10.0, tuned)} for name, tuned in (("a", 5.0), ("b", 7.0))]
    assert ranking(arms) == "In the order of the arms, *a* has the lowest test error with either."


def test_the_ranking_tells_the_best_with_either_and_the_rank_correlation(found):
    # batch < group < none with their own settings, group < batch < none tuned: 2 of 3 pairs agree.
    assert found["ranking"].startswith(
        "In the order of the arms, the lowest test error is that of *batch* with the arms' own settings, and of *group* "
        "tuned; Kendall's rank correlation of the two orders is 0.33."
    )
    same = [{"levels": (name,), "means": (n, n + 1)} for n, name in enumerate("abc")]
    assert "*a* has the lowest test error with either" in ranking(same) and "is 1.00." in ranking(same)
    assert ranking(same[:1]) == ""


def test_verdicts_are_compared_claim_by_claim(found):
    first, second = found["verdicts"]
    assert first["statement"] == "Group norm has the higher error." and first["held"] == "changed"
    assert first["sides"] == [
        "**supported** +8.00 pp [+3.00, +13.00]",
        "**refuted** −3.00 pp [−7.97, +1.97]",
    ]
    assert second["held"] == "held"


def test_the_budget_says_what_was_done_by_whom(found, workspace):
    assert "Each of 3 arms had 4 trials" in found["budget"]
    assert (
        "learning rate from 0.01 to 1 on a logarithmic scale and batch size one of 32, 64" in found["budget"]
    )
    assert "mean validation error over 2 seeds; the test images had no part in it" in found["budget"]
    assert (
        "Of 6 trials 2 were stopped early, over the epochs of their first run by Hyperband" in found["budget"]
    )
    assert "; 1 failed or were given up" in found["budget"] and "Wilcoxon" not in found["budget"]
    assert "One worker at a time did them, and would do the same again to the bit." in found["budget"]
    assert "trained with 3 seeds, the first 2 of which had chosen them" in found["budget"]
    assert found["budget"].endswith(
        "Each trial is repeated as runs, by its number in `results/mine/norms/search/trials.csv`, which names their "
        f"ids: `ablations train norms norm=batch --trial 0 --suite mine --extra {workspace / 'my'}`."
    )
    _, study = planned(
        workspace, search=SEARCH.replace("{trials", "{objectives: [validation_error, macs], trials")
    )
    told = budget(study, shared(("a", 0, 9), ("b", 5, 9)))
    assert "2 workers shared them" in told and ", and the multiply-adds of an image;" in told
    assert "Of 2 trials 0 were stopped early. 2 workers" in told
    assert "The best settings of each arm, those with the lowest error, were then" in told
    _, study = planned(workspace, search=SEARCH.replace("seeds: 2", "seeds: 4"))
    assert "Hyperband [@li2018hyperband], and from their third seed on by a Wilcoxon test" in budget(
        study, shared(("a", 0, 9))
    )


def shared(*rows):
    """A table of trials by workers: name, start and end in seconds."""
    start = pd.Timestamp("2026-01-01")
    return pd.DataFrame(
        {
            **{"norm": "batch", "place": place, "state": "finished", "worker": worker},
            **{"started": str(start + pd.Timedelta(begin, "s")), "seconds": end - begin},
        }
        for place, (worker, begin, end) in enumerate(rows)
    )


def test_a_worker_that_goes_on_where_another_ended_is_no_second_one():
    assert at_a_time(shared(("a", 0, 2.5), ("b", 2.5, 4), ("b", 4, 5), ("c", 5.000001, 6))) == 1
    assert at_a_time(shared(("a", 0, 3), ("b", 2, 4), ("c", 3, 5))) == 2
    assert at_a_time(shared(("a", 0, 9), ("b", 1, 2), ("c", 1, 2))) == 3
    assert at_a_time(shared(("a", 0, 1))[:0]) == 0


def test_one_worker_that_failed_over_a_trial_does_not_promise_the_same_order(workspace):
    _, study = planned(workspace)
    told = budget(study, shared(("a", 0, 2), ("b", 2, 4)).assign(place=[0, 0], state=["failed", "finished"]))
    assert "One worker at a time did them, and did again last those that had failed." in told


MIXED = """{trials: 9, objectives: [validation_error, macs], space: {
  flip: [true, false], optimiser: [sgd, adam], batch_size: [16, 32], weight_decay: [0.0001, 0.001],
  momentum: {low: 0.1, high: 0.9, when: {optimiser: sgd}},
  rand_augment: {low: 0, high: 2}, groups: {choices: [2, 4], when: {flip: true}}}}"""


def test_values_of_a_choice_come_back_from_the_table_as_they_were(workspace):
    _, study = planned(workspace, search=MIXED)
    rows = [
        ("batch", "finished", 10.0, True, "sgd", 16, 0.0001, 0.5, 1, 2),
        ("batch", "failed", None, None, None, None, None, None, None, None),
        ("none", "pruned", 10.0, False, "adam", 32, 0.001, None, 0, None),
    ]
    trials(study, *rows)
    table = read_trials("mine", study)
    assert list(table["norm"].cat.categories) == ["batch", "group", "none"]
    for row, expected in zip(table.to_dict("records"), rows, strict=True):
        for path, value in zip(study.search.space, expected[3:], strict=True):
            if value is None:
                assert row[path] != row[path]
            else:
                assert row[path] == value and isinstance(row[path], bool) == isinstance(value, bool)


# ------------------------------------------------------------------------------------------ figures


def drawn(planned, table, folder):
    """The data behind each figure, which is drawn."""
    if "macs" in planned.search.objectives and "macs" not in table:
        table = table.assign(macs=1000.0 * (1 + table["trial"] % 3))
    write_table(table, layout.trials("mine", "norms"))
    draw_search(planned, read_trials("mine", planned), folder)
    names = list(captions(planned))
    for name in names:
        text = (folder / f"{name}.svg").read_text()
        assert text.rstrip().endswith("</svg>")
    return {name: read_table(folder / f"{name}.csv") for name in names}


def test_the_history_falls_only_where_a_finished_trial_is_better(workspace):
    _, study = planned(workspace)
    table = trials(
        study,
        ("batch", "finished", 30.0, 0.1, 64),
        ("batch", "pruned", 5.0, 0.2, 64),  # of its first epochs: no part in it
        ("group", "pruned", 50.0, 0.2, 64),
        ("batch", "failed", None, 0.2, 64),
        ("batch", "finished", 40.0, 0.2, 64),
        ("group", "finished", 20.0, 0.2, 64),
        ("batch", "finished", 10.0, 0.2, 64),
    )
    behind = drawn(study, table, workspace)["search-history"]
    assert list(captions(study)) == [
        *("search-history", "search-sensitivity", "search-slices", "search-importance")
    ]
    batch, group = (behind[behind["norm"] == norm] for norm in ("batch", "group"))
    assert list(batch["number"]) == [1, 2, 3, 4] and list(batch["best"]) == [30, 30, 30, 10]
    assert list(group["number"]) == [1, 2]
    assert math.isnan(group["best"].iloc[0]) and group["best"].iloc[1] == 20


def test_a_setting_that_decides_alone_has_all_the_importance(workspace):
    _, study = planned(workspace)
    chance = np.random.default_rng(0)
    rates = 10 ** chance.uniform(-2, 0, 40)
    rows = [
        ("batch", "finished", 50 + 20 * math.log10(rate), rate, [32, 64][n % 2])
        for n, rate in enumerate(rates)
    ]
    rows += [("group", "finished", 10.0, 0.1, 64)] * 5  # all alike
    rows += [("none", "pruned", 10.0 + n, 0.1, 64) for n in range(5)]
    behind = drawn(study, trials(study, *rows), workspace)["search-importance"].set_index("norm")
    assert behind.loc["batch", RATE] > 0.9
    assert behind.loc["batch"].sum() == pytest.approx(1)
    assert behind.loc[["group", "none"]].isna().all(axis=None)


TWO = "{norm: [batch, group], shortcut: [none, identity]}"


@pytest.mark.parametrize("factors", [NORMS, TWO, "{norm: [batch]}"], ids=["one", "two", "an arm"])
@pytest.mark.parametrize("search", [SEARCH, MIXED], ids=["numbers", "mixed"])
@pytest.mark.parametrize(
    "states", [["finished", "pruned"], ["pruned"], ["failed"]], ids=["some", "pruned", "failed"]
)
@pytest.mark.filterwarnings("error")
def test_figures_are_drawn_of_every_kind_of_search(workspace, factors, search, states):
    _, study = planned(workspace, factors, search)
    chance, rows = np.random.default_rng(0), []
    for key in study.arms:
        for n in range(9):
            state = states[n % len(states)]
            error = None if state == "failed" else float(chance.uniform(10, 90))
            if search == SEARCH:
                settings = [float(10 ** chance.uniform(-2, 0)), [32, 64][n % 2]]
            else:
                sgd, flip = n % 3 > 0, n % 2 > 0
                settings = [flip, "sgd" if sgd else "adam", [16, 32][n % 2], [1e-4, 1e-3][n // 5]]
                settings += [float(chance.uniform(0.1, 0.9)) if sgd else None, n % 3, 2 if flip else None]
            rows.append((*key, state, error, *settings))
    behind = drawn(study, trials(study, *rows), workspace)
    assert len(behind["search-slices"]) == len(rows)
    assert len(behind["search-importance"]) == len(study.arms)
    assert len(behind["search-history"]) == (0 if states == ["failed"] else len(rows))


THREE = "{norm: [batch, group], shortcut: [none, identity], depth: [8, 14, 20]}"


def test_each_arm_has_a_line_of_its_own_whatever_the_number_of_factors(workspace, monkeypatch):
    _, study = planned(workspace, THREE)
    assert colour_and_others(study) == ("depth", ["norm", "shortcut"])
    rows = [
        (*key, "finished", 10.0 + place, rate, 64)
        for place, key in enumerate(study.arms)
        for rate in (0.015, 0.15)
    ]
    table = trials(study, *rows)
    split = in_panels(study, read_trials("mine", study))
    assert list(split) == [
        *("norm: batch, shortcut: none", "norm: batch, shortcut: identity"),
        *("norm: group, shortcut: none", "norm: group, shortcut: identity"),
    ]
    assert [len(of_panel) for of_panel in split.values()] == [6] * 4
    assert all(of_panel["depth"].value_counts().eq(2).all() for of_panel in split.values())
    lines, plot = [], Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda ax, x, y, *rest, **style: lines.append(list(y)) or plot(ax, x, y, *rest, **style)
    )
    behind = drawn(study, table, workspace)["search-sensitivity"]
    drawn_together = [set(line) for line in lines if line]
    assert all(len(errors) == 1 for errors in drawn_together)  # the errors of an arm are all alike
    assert set().union(*drawn_together) == {10.0 + place for place in range(len(study.arms))}
    assert len(behind) == 12 * 6
    assert (behind.groupby(["norm", "shortcut", "depth"])["finished"].sum() == 2).all()


def test_the_front_has_the_trials_that_no_other_of_their_arm_beats(workspace):
    _, study = planned(
        workspace, search=SEARCH.replace("{trials", "{objectives: [validation_error, macs], trials")
    )
    table = trials(
        study,
        ("batch", "finished", 30.0, 0.1, 64),
        ("batch", "pruned", 5.0, 0.2, 64),
        ("group", "finished", 20.0, 0.2, 64),
        ("batch", "finished", 10.0, 0.3, 64),
        ("batch", "finished", 29.0, 0.3, 64),
        ("batch", "finished", 11.0, 0.3, 64),
        ("batch", "finished", 50.0, 0.3, 64),
    )
    macs = [2000, 1000, 500, 4000, 1000, 4100, 900]
    behind = drawn(study, table.assign(macs=macs), workspace)["search-front"].set_index("trial")
    assert behind["macs"].to_dict() == {0: 2000, 2: 500, 3: 4000, 4: 1000, 5: 4100, 6: 900}
    # 0 is worse than 4 in both, 5 than 3; 6 is cheaper than 4, and 2 is of another arm.
    assert behind.index[behind["front"]].sort_values().tolist() == [2, 3, 4, 6]
