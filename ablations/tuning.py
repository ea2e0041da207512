"""What tuning changes: every arm with its own settings and with those that its search found. No torch."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from ablations import layout
from ablations.collect import read_runs, read_table
from ablations.config import Claim, Search, listing, words
from ablations.contrasts import contrast, mean_interval
from ablations.findings import change, effect_with_interval, numeral
from ablations.plan import TUNED, Found, Plan, PlannedStudy, read_best
from ablations.space import Choice, Dimension
from ablations.statistics import of_arm, resolution
from ablations.verdicts import read_verdicts

METRIC = "test_error"
ERROR, RATE = "validation_error", "recipe.learning_rate"
NEAR = 5.0  # percentage points above an arm's lowest validation error within which a rate works
TRAINS = 50.0  # percent; a rate with a validation error above it does not work
BINS = 3  # of learning rates, a decade
SMALL = 1.0  # percentage points that are no advantage worth explaining
CHANGED, KEPT = "changed", "held"


def tuning(plan: Plan, tuned: PlannedStudy, runs: pd.DataFrame) -> dict[str, Any]:
    """What the template needs on the tuning of a study; `runs` are those of its tuned arms."""
    name = tuned.name.removesuffix(TUNED)
    planned = plan.study(name)
    own = read_runs(plan.suite_name, planned)
    trials = read_trials(plan.suite_name, planned)
    found = read_best(layout.best(plan.suite_name, name))
    rates = sensitivity(planned, trials) if RATE in planned.search.space else None
    arms = [
        {
            **arm_row(planned, key, of_arm(planned, own, key), of_arm(tuned, runs, key), found[key]),
            "works": None if rates is None else working_rates(of_arm(planned, rates, key)),
            "decades": None if rates is None else decades(of_arm(planned, rates, key)),
        }
        for key in planned.arms
    ]
    return {
        "budget": f"{budget(planned, trials)} {repeating(plan, planned)}",
        "factors": [words(factor).capitalize() for factor in planned.factors],
        "fields": [field_in_words(path) for path in planned.search.space],
        "arms": arms,
        "rates_that_work": RATES_THAT_WORK,
        "ranking": " ".join(filter(None, [ranking(arms), ranges(planned, arms)])),
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
    found: Found,
) -> dict[str, Any]:
    """An arm with its own settings and tuned: test errors with their intervals, and the difference with Welch's."""
    return {
        "levels": key,
        "own": of_mean(own),
        "tuned": of_mean(tuned),
        "difference": difference(tuned, own),
        "settings": [setting(found.settings.get(path)) for path in planned.search.space],
        "means": (own[METRIC].mean(), tuned[METRIC].mean()),
    }


def of_mean(runs: pd.DataFrame) -> str:
    """Mean and half the 95 % interval of the test error; the mean alone of a single run, a dash without runs."""
    if runs.empty:
        return "–"
    mean, low, _ = mean_interval(runs[METRIC].to_numpy(float), resolution(runs, METRIC))
    return f"{mean:.2f}" if math.isnan(low) else f"{mean:.2f} ± {mean - low:.2f}"


def difference(tuned: pd.DataFrame, own: pd.DataFrame) -> str:
    """The difference of the mean test errors with Welch's interval; without it where a side is a single run, a dash
    where one has none."""
    if tuned.empty or own.empty:
        return "–"
    if min(len(tuned), len(own)) < 2:
        return change(METRIC, tuned[METRIC].mean() - own[METRIC].mean())
    samples = [table[METRIC].to_numpy(float) for table in (tuned, own)]
    apart = contrast(samples, (1, -1), resolution(own, METRIC))
    low, high = apart.interval
    return f"{change(METRIC, apart.effect)} [{numeral(METRIC, low, '+')}, {numeral(METRIC, high, '+')}]"


# ------------------------------------------------------------------------------------------ learning rates that work


RATES_THAT_WORK = (
    f"Rates that work: learning rates, in bins of 1/{BINS} of a decade, at which a finished trial had a validation "
    f"error within {NEAR:g} points of the arm's lowest and below {TRAINS:g} %, whatever its other settings; in brackets "
    "their width in decades."
)


def sensitivity(planned: PlannedStudy, trials: pd.DataFrame) -> pd.DataFrame:
    """How the validation error of each arm depends on the learning rate: a row a bin of rates from `low` to `high`,
    with the number of its `finished` and `pruned` trials, the lowest error in percent of either, `lowest` and
    `stopped_at`, and whether such rates work. The error of a trial that was stopped early is one that it had on the way
    and might have gone below. A bin without a trial is taken to work where both of its neighbours with trials do."""
    edges = bins(planned.search.space[RATE])
    tables = []
    for key in planned.arms:
        of_key = of_arm(planned, trials, key).dropna(subset=[RATE, ERROR])
        place = np.clip(np.searchsorted(edges, of_key[RATE], side="right") - 1, 0, len(edges) - 2)
        rows = pd.DataFrame({"low": edges[:-1], "high": edges[1:]}).assign(**planned.levels(key))
        for state, lowest in (("finished", "lowest"), ("pruned", "stopped_at")):
            is_so = (of_key["state"] == state).to_numpy()
            errors = of_key[ERROR][is_so].groupby(place[is_so])
            rows[state] = errors.size().reindex(rows.index, fill_value=0)
            rows[lowest] = errors.min().reindex(rows.index)
        works = (rows["lowest"] <= min(rows["lowest"].min() + NEAR, TRAINS)).astype(float)
        works = works.where((rows["finished"] > 0) | (rows["pruned"] > 0))
        rows["works"] = (works.ffill() == 1) & (works.bfill() == 1)
        tables.append(rows)
    table = pd.concat(tables, ignore_index=True)
    for name, factor in planned.factors.items():
        table[name] = pd.Categorical(table[name], [level.label for level in factor.levels], ordered=True)
    return table[[*planned.factors, *(column for column in table if column not in planned.factors)]]


def bins(dimension: Dimension) -> np.ndarray:
    """The edges of bins of learning rates, about BINS a decade; of a choice, a bin a value."""
    if isinstance(dimension, Choice):
        rates = np.sort(np.array(dimension.choices, float))
        return np.concatenate([rates[:1], np.sqrt(rates[:-1] * rates[1:]), rates[-1:]])
    count = max(2, round(BINS * math.log10(dimension.high / dimension.low)))
    return np.geomspace(dimension.low, dimension.high, count + 1)


def decades(rates: pd.DataFrame) -> float:
    """The width of an arm's rates that work, in decades."""
    working = rates[rates["works"]]
    return float(np.log10(working["high"] / working["low"]).sum())


def working_rates(rates: pd.DataFrame) -> str:
    """An arm's rates that work and their width, as printed; a dash without one."""
    together = [
        list(bins) for works, bins in groupby(rates.to_dict("records"), lambda row: row["works"]) if works
    ]
    told = ", ".join(
        f"{first['low']:.2g} to {last['high']:.2g}"
        for first, last in ((bins[0], bins[-1]) for bins in together)
    )
    return f"{told} ({decades(rates):.1f})" if told else "–"


def ranges(planned: PlannedStudy, arms: Sequence[Mapping[str, Any]]) -> str:
    """For each factor, whether its levels differ in the width of the rates that work, and whether that is what those
    with the wider range had over the others; empty where learning rates were not searched."""
    table = pd.DataFrame([arm["levels"] for arm in arms], columns=list(planned.factors), dtype=object)
    table["decades"] = [arm["decades"] for arm in arms]
    table["own"], table["tuned"] = zip(*(arm["means"] for arm in arms), strict=True)
    if table["decades"].isna().any():
        return ""
    return " ".join(
        range_by(factor, table.groupby(factor, sort=False)[["decades", "own", "tuned"]].mean())
        for factor in planned.factors
        if table[factor].nunique() > 1
    )


def range_by(factor: str, means: pd.DataFrame) -> str:
    """The same of a factor, by the means of its levels' arms."""
    wide, narrow = means.loc[means["decades"].idxmax()], means.loc[means["decades"].idxmin()]
    by = f"By {words(factor)}, the learning rates that work span {wide['decades']:.1f} decades with *{wide.name}*"
    if wide["decades"] - narrow["decades"] < 1 / BINS:
        return f"{by} and hardly fewer with the other levels."
    told = f"{by}, the most, and {narrow['decades']:.1f} with *{narrow.name}*, the fewest."
    own, tuned = narrow["own"] - wide["own"], narrow["tuned"] - wide["tuned"]
    if math.isnan(own) or math.isnan(tuned):
        return told
    if own < SMALL:
        return f"{told} With the arms' own settings that is no advantage in the test error."
    if tuned < own / 2:
        left = f"only {tuned:.1f}" if tuned >= SMALL else "not even a point"
        kept = f"tuned, {left}: what *{wide.name}* has over it is mostly a wider range of learning rates"
    else:
        kept = f"tuned, still {tuned:.1f}: what *{wide.name}* has over it is mostly not its wider range of learning rates"
    return f"{told} With the arms' own settings *{narrow.name}* errs by {own:.1f} points more, {kept}."


# ------------------------------------------------------------------------------------------ in words


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
    done = trials[trials["state"].isin(["finished", "pruned"])]
    pruned, failed = (int((trials["state"] == state).sum()) for state in ("pruned", "failed"))
    return (
        f"Each of {len(planned.arms)} arms had {search.trials} trials, the first with its own settings, the others by "
        f"Optuna's tree-structured Parzen estimator [@akiba2019]: {listing(space)}. What counted was the mean "
        f"validation error over {search.seeds} seed{'s' if search.seeds > 1 else ''}"
        f"{', and the multiply-adds of an image' if 'macs' in search.objectives else ''}; the test images had no part "
        f"in it. Of {len(done)} trials {pruned} were stopped early"
        + stopping(search)
        + (f"; {failed} failed or were given up by a worker that ended" if failed else "")
        + f". {order(planned, trials)}. The best settings of each arm"
        + (", those with the lowest error," if "macs" in search.objectives else "")
        + f" were then trained with {len(planned.seeds)} seeds, "
        + (f"the first {search.seeds} of which" if search.seeds < len(planned.seeds) else "those which")
        + " had chosen them; their errors are a little too low for it, in every arm alike."
    )


def stopping(search: Search) -> str:
    """How trials are stopped early, to go after that word; nothing where they are not."""
    if len(search.objectives) > 1:
        return ""
    over_seeds = (
        ", and from their third seed on by a Wilcoxon test against the best trial" if search.seeds > 3 else ""
    )
    return f", over the epochs of their first run by Hyperband [@li2018hyperband]{over_seeds}"


def order(planned: PlannedStudy, trials: pd.DataFrame) -> str:
    """Who did the trials, and whether they would be the same again."""
    workers = at_a_time(trials)
    if workers > 1:
        return (
            f"{workers} workers shared them, so that their order, and with it what later trials were given, would not "
            "be the same again"
        )
    if trials.duplicated([*planned.factors, "place"]).any():
        return "One worker at a time did them, and did again last those that had failed"
    return "One worker at a time did them, and would do the same again to the bit"


def at_a_time(trials: pd.DataFrame) -> int:
    """The most workers that had a trial under way at the same time; one that goes on where another ended is not a
    second one."""
    start = pd.to_datetime(trials["started"], format="ISO8601")
    end = start + pd.to_timedelta(trials["seconds"], unit="s")
    return max((trials["worker"][(start <= now) & (now < end)].nunique() for now in start), default=0)


def repeating(plan: Plan, planned: PlannedStudy) -> str:
    """How any trial is trained again."""
    key = next(iter(planned.arms))
    levels = " ".join(shlex.quote(f"{factor}={level}") for factor, level in planned.levels(key).items())
    extra = f" --extra {plan.library.extra}" if plan.library.extra else ""
    return (
        f"Each trial is repeated as runs, by its number in `{layout.trials(plan.suite_name, planned.name)}`, which "
        f"names their ids: `ablations train {planned.name} {levels} --trial 0 --suite {plan.suite_name}{extra}`."
    )


def ranking(arms: Iterable[Mapping[str, Any]]) -> str:
    """Whether the arms keep their order, in a sentence."""
    trained = [arm for arm in arms if not any(map(math.isnan, arm["means"]))]
    own, tuned = (pd.Series([arm["means"][side] for arm in trained]) for side in (0, 1))
    names = [" ".join(arm["levels"]) for arm in trained]
    if len(names) < 2:
        return ""
    from scipy import stats

    tau = stats.kendalltau(own, tuned).statistic
    best = names[own.idxmin()], names[tuned.idxmin()]
    told = (
        f"*{best[0]}* has the lowest test error with either"
        if best[0] == best[1]
        else f"the lowest test error is that of *{best[0]}* with the arms' own settings, and of *{best[1]}* tuned"
    )
    if math.isnan(tau):  # all arms err alike on one side
        return f"In the order of the arms, {told}."
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
