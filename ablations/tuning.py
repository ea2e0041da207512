"""What tuning changes: every arm with its own settings and with those that its search found. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from scipy import stats

from ablations import layout
from ablations.collect import read_runs, read_table
from ablations.config import Claim, listing, read_yaml, words
from ablations.contrasts import contrast, mean_interval
from ablations.findings import change, effect_with_interval, numeral
from ablations.plan import TUNED, Plan, PlannedStudy
from ablations.space import Choice
from ablations.statistics import of_arm, resolution
from ablations.verdicts import read_verdicts

METRIC = "test_error"
ERROR, RATE = "validation_error", "recipe.learning_rate"
NEAR = 5.0  # percentage points above an arm's lowest validation error within which a rate works
CHANGED, KEPT = "changed", "held"


def tuning(plan: Plan, tuned: PlannedStudy, runs: pd.DataFrame) -> dict[str, Any]:
    """What the template needs on the tuning of a study; `runs` are those of its tuned arms."""
    name = tuned.name.removesuffix(TUNED)
    planned = plan.study(name)
    own = read_runs(plan.suite_name, planned)
    trials = read_trials(plan.suite_name, planned)
    found = {
        tuple(arm["levels"].values()): arm for arm in read_yaml(layout.best(plan.suite_name, name))["arms"]
    }
    arms = [
        {
            **arm_row(planned, key, of_arm(planned, own, key), of_arm(tuned, runs, key), found[key]),
            "works": working_rates(of_arm(planned, trials, key)) if RATE in planned.search.space else None,
        }
        for key in planned.arms
    ]
    return {
        "budget": budget(planned, trials),
        "factors": [words(factor).capitalize() for factor in planned.factors],
        "fields": [field_in_words(path) for path in planned.search.space],
        "arms": arms,
        "near": f"{NEAR:g}",
        "ranking": ranking(arms),
        "verdicts": compared_verdicts(plan, planned, tuned),
    }


def read_trials(suite: str, planned: PlannedStudy) -> pd.DataFrame:
    """The trials of a study's search, levels as ordered categories."""
    choices = {path: each for path, each in planned.search.space.items() if isinstance(each, Choice)}
    as_text = dict.fromkeys([*planned.factors, *choices], str)
    table = read_table(layout.trials(suite, planned.name), dtype=as_text)
    for path, choice in choices.items():
        table[path] = table[path].map(choice.in_table, na_action="ignore").astype(object)
    for name, factor in planned.factors.items():
        table[name] = pd.Categorical(table[name], [level.label for level in factor.levels], ordered=True)
    return table


def arm_row(
    planned: PlannedStudy,
    key: tuple[str, ...],
    own: pd.DataFrame,
    tuned: pd.DataFrame,
    found: Mapping[str, Any],
) -> dict[str, Any]:
    """An arm with its own settings and tuned: test errors with their intervals, and the difference with Welch's."""
    samples = [table[METRIC].to_numpy(float) for table in (tuned, own)]
    apart = contrast(samples, (1, -1), resolution(own, METRIC))
    low, high = apart.interval
    return {
        "levels": key,
        "own": of_mean(own),
        "tuned": of_mean(tuned),
        "difference": f"{change(METRIC, apart.effect)} [{numeral(METRIC, low, '+')}, {numeral(METRIC, high, '+')}]",
        "settings": [setting(found["settings"].get(path)) for path in planned.search.space],
        "means": (own[METRIC].mean(), tuned[METRIC].mean()),
    }


def of_mean(runs: pd.DataFrame) -> str:
    """Mean and half the 95 % interval of the test error."""
    mean, low, _ = mean_interval(runs[METRIC].to_numpy(float), resolution(runs, METRIC))
    return f"{mean:.2f} ± {mean - low:.2f}"


def working_rates(trials: pd.DataFrame) -> str:
    """The learning rates of an arm's finished trials whose validation error is near the lowest; a dash without one."""
    finished = trials[trials["state"] == "finished"]
    rates = finished.loc[finished[ERROR] <= finished[ERROR].min() + NEAR, RATE]
    return "–" if rates.empty else f"{rates.min():.2g} to {rates.max():.2g}"


def setting(value: Any) -> str:
    """A value that was found, as printed; a dash where it was not asked."""
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def field_in_words(path: str) -> str:
    """A field by its path, as prose."""
    return words(path.partition(".")[2])


def budget(planned: PlannedStudy, trials: pd.DataFrame) -> str:
    """How the arms were tuned, in Markdown."""
    search = planned.search
    space = [f"{field_in_words(path)} {dimension}" for path, dimension in search.space.items()]
    done, workers = trials[trials["state"].isin(["finished", "pruned"])], trials["worker"].nunique()
    pruned, failed = (int((trials["state"] == state).sum()) for state in ("pruned", "failed"))
    order = (
        "One worker did them, and would do the same again to the bit"
        if workers == 1
        else f"{workers} workers shared them, so that their order, and with it what later trials were given, would not be "
        "the same again; each can be repeated as a run by its id"
    )
    return (
        f"Each of {len(planned.arms)} arms had {search.trials} trials, the first with its own settings, the others by "
        f"Optuna's tree-structured Parzen estimator [@akiba2019]: {listing(space)}. What counted was the mean "
        f"validation error over {search.seeds} seeds"
        f"{', and the multiply-adds of an image' if 'macs' in search.objectives else ''}; the test images had no part "
        f"in it. Of {len(done)} trials {pruned} were stopped early"
        + (f", and {failed} failed or were given up by a worker that ended" if failed else "")
        + f". {order}. The best settings of each arm were then trained with {len(planned.seeds)} seeds, the first "
        f"{search.seeds} of which had chosen them; their errors are a little too low for it, in every arm alike."
    )


def ranking(arms: Iterable[Mapping[str, Any]]) -> str:
    """Whether the arms keep their order, in a sentence."""
    own, tuned = (pd.Series([arm["means"][side] for arm in arms]) for side in (0, 1))
    names = [" ".join(arm["levels"]) for arm in arms]
    if len(names) < 2:
        return ""
    tau = stats.kendalltau(own, tuned).statistic
    best = names[own.idxmin()], names[tuned.idxmin()]
    told = (
        f"*{best[0]}* has the lowest test error with either"
        if best[0] == best[1]
        else f"the lowest test error is that of *{best[0]}* with the arms' own settings, and of *{best[1]}* tuned"
    )
    return f"In the order of the arms, {told}; Kendall's rank correlation of the two orders is {tau:.2f}."


def compared_verdicts(plan: Plan, planned: PlannedStudy, tuned: PlannedStudy) -> list[dict[str, Any]]:
    """The verdict on each claim with the arms' own settings and tuned."""
    tables = [read_verdicts(plan, each.name).set_index("claim").to_dict("index") for each in (planned, tuned)]
    return [
        {
            "statement": claim.statement,
            "sides": [verdict_cell(claim, table[name]) for table in tables],
            "held": KEPT if tables[0][name]["verdict"] == tables[1][name]["verdict"] else CHANGED,
        }
        for name, claim in planned.study.claims.items()
    ]


def verdict_cell(claim: Claim, row: Mapping[str, Any]) -> str:
    """A verdict with its effect."""
    return f"**{row['verdict']}** {effect_with_interval(claim, row)}"
