"""What tuning changes, on made-up tables: nothing is trained."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import write

from ablations import layout
from ablations.collect import read_table, write_table
from ablations.config import Library
from ablations.files import write_text
from ablations.plan import make_plan
from ablations.tuning import budget, ranking, read_trials, setting, tuning, working_rates
from ablations.tuning_figures import captions, draw_search
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


def test_rates_that_work_are_those_of_finished_trials_near_the_lowest_error(found):
    assert [row["works"] for row in found["arms"]] == ["0.2 to 0.4", "0.1 to 0.1", "–"]
    made_up = pd.DataFrame(
        {
            "state": ["finished"] * 3 + ["pruned"],
            "validation_error": [10, 15, 15.1, 10],
            RATE: [0.1, 0.2, 0.3, 0.9],
        }
    )
    assert working_rates(made_up) == "0.1 to 0.2"


def test_the_ranking_tells_the_best_with_either_and_the_rank_correlation(found):
    # batch < group < none with their own settings, group < batch < none tuned: 2 of 3 pairs agree.
    assert found["ranking"] == (
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
    assert "Of 6 trials 2 were stopped early, and 1 failed or were given up" in found["budget"]
    assert "One worker did them, and would do the same again to the bit" in found["budget"]
    assert "trained with 3 seeds, the first 2 of which had chosen them" in found["budget"]
    _, study = planned(
        workspace, search=SEARCH.replace("{trials", "{objectives: [validation_error, macs], trials")
    )
    table = pd.DataFrame({"state": ["finished"] * 2, "worker": ["a", "b"]})
    told = budget(study, table)
    assert "2 workers shared them" in told and ", and the multiply-adds of an image;" in told
    assert "Of 2 trials 0 were stopped early. 2 workers" in told


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
    assert list(captions(study)) == ["search-history", "search-slices", "search-importance"]
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


def test_the_front_has_the_trials_by_their_multiply_adds(workspace):
    _, study = planned(
        workspace, search=SEARCH.replace("{trials", "{objectives: [validation_error, macs], trials")
    )
    table = trials(
        study,
        ("batch", "finished", 30.0, 0.1, 64),
        ("batch", "pruned", 5.0, 0.2, 64),
        ("group", "finished", 20.0, 0.2, 64),
    )
    behind = drawn(study, table.assign(macs=[2000, 1000, 500]), workspace)["search-front"]
    assert behind.set_index("norm")["macs"].to_dict() == {"group": 500, "batch": 2000}
