"""How often intervals cover, reports err and claims are found, by simulation with known truth.

python tests/benchmarks/coverage.py

Checks the rule that verdicts come from, and decides questions of method: whether to moderate variances over the arms of
a study (Smyth 2004), whether the bootstrap or permutations serve at the numbers of seeds in use, whether to pair seeds,
whether p values may be one-sided. Arms differ in variance as they do in the studies, and claims are not about any two
arms: `noisy` ones are about the two that vary most, as with plain-56, `quiet` ones about the two that vary least.

Found, 95 % intervals being asked to cover 93 to 97 % and reports to err in 5 %:

The rule: where all 20 claims of a report are of one kind and at the bound of a test, or just beside it, at most 3.3 % of
reports hold a false verdict, with deviations of 1 to 2. p values are two-sided and a verdict takes one side, hence half of
5 %; where any difference matters and there is none, both sides are false, and it is about 5 % at 5 and 10 seeds, and up to
8 % where deviations are 1 to 5 or more. Deep in its tails Welch's test errs more often where deviations are 1 to 5 or 10
and seeds few: reports of the claims of the suite digits, all at their bounds, err in at most 5.2 % at 5 and 10 seeds
(standard error 0.2). At 3 it would be 7 to 8 %: p values of claims on an arm with fewer than 5 runs are doubled, which
makes of it 5 % at most. One-sided p values, for claims of an effect that have a margin, would make nearly 8 % at 5 seeds:
so they stay two-sided.

Welch's intervals cover 95 to 97 %, unequal variances and heavy tails included, and 2 to 6 % of reports err. Where seeds
correlate positively they cover more, 99 % at 0.5, where negatively, less: 89 to 93 % at -0.5.

Where one run of one arm diverged, the interval with guessing covers always, that without the run 94 to 95 %, and verdicts
that hold both ways are false in at most 0.1 % of reports. Where one run in ten diverges, verdicts on the runs that train
are false in at most 1.9 % of reports. On means with guessing, intervals then cover 85 to 96 %, and up to 43 % of reports
of 20 claims err: most samples show no such run, and no method can know of it.

Moderated variances cover 84 to 93 % for noisy arms, and up to half of the reports err: the prior holds for arms drawn
at random, not for those that claims are about.

BCa intervals cover 87 to 93 % at 6 to 20 seeds. The permutation test of Welch's t errs in 5 to 8 % where variances
differ, and at the level of a report, 0.05/20, it cannot reject at all below 6 seeds an arm.

Pairing narrows intervals at that level and 5 seeds from a correlation of about 0.5; a rule that looked at it first would
choose by the result, and not keep its level.

So: Welch, unmoderated, not paired, two-sided, at any number of seeds, below 5 at half the level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from ablations.config import Claim, Library
from ablations.contrasts import ALPHA, Contrast, contrast, linear_weights
from ablations.plan import make_plan
from ablations.resampling import Permuted, bca_interval
from ablations.statistics import adjust, agreed, aligned, cautious, p_values, settled

ARMS = 8
PAIRS = {"noisy": (ARMS - 1, ARMS - 2), "middle": (ARMS // 2, ARMS // 2 - 1), "quiet": (1, 0)}
CLAIMS = 20
SEEDS = (3, 5, 10)
LEVELS = {"0.05": ALPHA, "0.05/20": ALPHA / CLAIMS}
# A run diverges with this probability, to an error that lies so many of its arm's deviations away.
DIVERGES, GUESSING = 0.1, 20.0


# ------------------------------------------------------------------------------------------ runs with known truth


def deviations(spread: float) -> np.ndarray:
    """Standard deviations of the arms, in rising order: quantiles of a log-normal variance with this standard
    deviation of its logarithm. On digits it is about 2: plain-56 has a hundred times the variance of residual-20."""
    return np.exp(spread / 2 * stats.norm.ppf((np.arange(ARMS) + 0.5) / ARMS))


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.standard_normal(shape)


def heavy(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Student's t with 4 degrees of freedom, scaled to a variance of 1."""
    return random.standard_t(4, shape) / np.sqrt(2)


def diverging(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal, but some runs at the error of guessing; about their common mean."""
    failed = random.random(shape) < DIVERGES
    return random.standard_normal(shape) + GUESSING * (failed - DIVERGES)


SCENARIOS: dict[str, tuple[float, Callable]] = {
    "equal variances": (0.0, normal),
    "variances differ (1)": (1.0, normal),
    "variances differ (2)": (2.0, normal),
    "heavy tails (2)": (2.0, heavy),
    "runs diverge (2)": (2.0, diverging),
}


def reports(random: np.random.Generator, scenario: str, seeds: int, number: int) -> np.ndarray:
    """Runs of so many studies: (studies, arms, seeds), every true mean 0."""
    spread, draw = SCENARIOS[scenario]
    return draw(random, (number, ARMS, seeds)) * deviations(spread)[:, None]


# ------------------------------------------------------------------------------------------ the two intervals


def welch_p(runs: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    """p of the difference of two arms as the package tests it: below 0.05 where the 95 % interval misses 0."""
    c = contrast([runs[:, i] for i in pair], [1, -1], 0.0)
    return np.minimum(c.p_above(0), c.p_below(0))


def moderated_p(runs: np.ndarray, pair: tuple[int, int]) -> np.ndarray:
    """The same with each arm's variance moderated over the arms of its study."""
    seeds = runs.shape[-1]
    variances, freedom = moderated(runs.var(axis=-1, ddof=1), seeds - 1)
    spread = variances[:, list(pair)] / seeds
    total = spread.sum(axis=1) ** 2 / (spread**2 / freedom[:, None]).sum(axis=1)
    effect = runs[:, pair[0]].mean(axis=-1) - runs[:, pair[1]].mean(axis=-1)
    return 2 * stats.t.sf(abs(effect) / np.sqrt(spread.sum(axis=1)), total)


def moderated(variances: np.ndarray, freedom: int) -> tuple[np.ndarray, np.ndarray]:
    """Variances of the arms of studies (studies, arms), shrunk to the prior that fits each study, and their degrees of
    freedom, not more than all arms have together (Smyth 2004, section 3; the bound is limma's)."""
    prior, prior_freedom = fit_prior(variances, freedom)
    weight = prior_freedom / (prior_freedom + freedom)
    shrunk = weight[:, None] * prior[:, None] + (1 - weight[:, None]) * variances
    return shrunk, np.minimum(prior_freedom + freedom, freedom * variances.shape[1])


def fit_prior(variances: np.ndarray, freedom: int) -> tuple[np.ndarray, np.ndarray]:
    """Variance and degrees of freedom of the inverse chi-squared prior of each study, from mean and variance of the
    logarithms (Smyth 2004, section 6.2); as good as infinite where these vary no more than those of one common
    variance."""
    logs = np.log(variances) - special.digamma(freedom / 2) + np.log(freedom / 2)
    excess = logs.var(axis=1, ddof=1) - special.polygamma(1, freedom / 2)
    half = trigamma_inverse(np.maximum(excess, 1e-6))
    return np.exp(logs.mean(axis=1) + special.digamma(half) - np.log(half)), 2 * half


def trigamma_inverse(x: np.ndarray) -> np.ndarray:
    """y with trigamma(y) = x, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    y = 0.5 + 1 / x
    for _ in range(20):
        value = special.polygamma(1, y)
        y = y + value * (1 - value / x) / special.polygamma(2, y)
    return y


METHODS = {"Welch": welch_p, "moderated": moderated_p}


# ------------------------------------------------------------------------------------------ the rule of verdicts

Truth = (
    float | tuple[float, float]
)  # a true effect in margins, as claimed; of a crossover, of each difference
VARIED = (0.5, 0.25)  # standard deviations of a claim's arms in turn, in margins
NOISY = (10.0, 5.0)  # where the margin is next to nothing beside them
LEVELS_OF_TREND = 4
# The weights of a claim's arms, in each of its differences, and the direction of each that is claimed.
WEIGHTS: dict[str, list[np.ndarray]] = {
    **{kind: [np.array([1, -1])] for kind in ("greater", "less", "not_greater", "equivalent")},
    "fails": [np.array([1])],
    "trend": [linear_weights(LEVELS_OF_TREND)],
    "crossover": [np.array([1, -1, 0, 0]), np.array([0, 0, 1, -1])],
}
DIRECTIONS = {"less": [-1], "crossover": [1, -1]}
KEYS = {
    "fails": {"threshold": 0},
    "trend": {"factor": "f", "direction": "rises"},
    "crossover": {"factor": "f", "at": ["a", "b"], "than": {}},
}


@dataclass(frozen=True)
class Tested:
    """A claim of a simulated report."""

    kind: str
    truth: Truth
    margin: float = 1

    @property
    def claim(self) -> Claim:
        told = {"statement": "s", "source": "he2015", "published": "p", "metric": "train_loss"}
        keys = KEYS.get(self.kind, {"than": {}})
        return Claim(kind=self.kind, margin=self.margin, **told, **keys)

    @property
    def means(self) -> np.ndarray:
        """True means of its arms."""
        weights = WEIGHTS[self.kind]
        effects = np.broadcast_to(self.truth, len(weights)) * DIRECTIONS.get(self.kind, [1])
        return sum(effect * w / (w**2).sum() for effect, w in zip(effects, weights, strict=True))

    @property
    def false(self) -> set[str]:
        """The verdicts that would be false: to support an effect that is not there or an absence that is not, to refute
        what is. An effect that is there, but too small to matter, makes neither false on a claim of one."""
        least = np.min(self.truth)
        if self.claim.of_absence:
            return {"supported" if least >= self.margin else "refuted"}
        not_there, matters = (
            {"supported"} if least <= 0 else set(),
            {"refuted"} if least >= self.margin else set(),
        )
        return not_there | matters


@dataclass(frozen=True)
class Arms:
    """How the runs of a claim's arms vary. `deviations` are in margins, those of the arms in turn; the seeds of any two
    arms correlate, where negatively, those of an odd and an even one, the others positively. One run of one arm
    diverges, or each with a probability, to an error that is the same for all."""

    deviations: tuple[float, ...] = VARIED
    draw: Callable = normal
    correlation: float = 0.0
    one_diverges: bool = False
    diverges: float = 0.0

    def runs(self, random: np.random.Generator, means: np.ndarray, seeds: int, number: int) -> np.ndarray:
        """(arms, number, seeds)"""
        arms = np.arange(len(means))
        sign = np.where((arms % 2 == 1) & (self.correlation < 0), -1, 1)[:, None, None]
        together, own = self.draw(random, (1, number, seeds)), self.draw(random, (len(means), number, seeds))
        share = abs(self.correlation)
        deviations = np.resize(self.deviations, len(means))[:, None, None]
        return means[:, None, None] + deviations * (
            np.sqrt(share) * sign * together + np.sqrt(1 - share) * own
        )

    def diverged(self, random: np.random.Generator, shape: tuple[int, ...], number: int) -> np.ndarray:
        """Which of these runs diverged, of the claim of this number in its report."""
        failed = random.random(shape) < self.diverges
        failed[number % shape[0], :, 0] |= self.one_diverges
        return failed


ARMS_VARY = {
    "deviations 1 to 2": Arms(),
    "deviations 1 to 5": Arms((0.5, 0.1)),
    "deviations 1 to 10": Arms((0.5, 0.05)),
    "deviations 1 to 20": Arms((0.5, 0.025)),
    "heavy tails, 1 to 2": Arms(draw=heavy),
    "heavy tails, 1 to 5": Arms((0.5, 0.1), heavy),
    "margins next to nothing": Arms(NOISY),
    "seeds correlate by 0.5": Arms(correlation=0.5),
    "one run diverged": Arms(one_diverges=True),
    "one run diverged, 1 to 5": Arms((0.5, 0.1), one_diverges=True),
    "one run in ten diverges": Arms(diverges=DIVERGES),
    "seeds correlate by −0.5": Arms(correlation=-0.5),
}
BOUNDS: dict[str, tuple[Truth, ...]] = {
    **{kind: (0, 0.99, 1, 2) for kind in WEIGHTS},
    "crossover": ((0, 0), (0, 2), (0.99, 2), (1, 1), (1, 2), (2, 2)),
}
REPORTS: dict[str, list[Tested]] = {
    f"{kind}, {truth}": [Tested(kind, truth)] * CLAIMS for kind, truths in BOUNDS.items() for truth in truths
} | {f"{kind}, 0, any matters": [Tested(kind, 0, margin=0)] * CLAIMS for kind in ("greater", "fails")}


def of_suite(name: str) -> list[Tested]:
    """The claims that a suite tests, with the truth at which a false verdict is likeliest: true effects at the margin,
    where any matters, none."""
    claims = make_plan(Library(), name).family("report")
    return [Tested(c.kind, truth=float(c.margin > 0), margin=float(c.margin > 0)) for c in claims]


def verdicts(
    report: Sequence[Tested],
    seeds: int,
    number: int,
    random: np.random.Generator,
    arms: Arms = ARMS_VARY["deviations 1 to 2"],
    one_sided: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The verdicts of so many reports on these claims (reports, claims), by the package's own tests, adjustment and
    decision: with all runs, and without those that diverged while others of their arm trained. The package gives the
    one that both agree on. `one_sided` halves the p values of claims that are not at both bounds at once: those of an
    effect that have a margin."""
    with_all, without = [], []
    for place, tested in enumerate(report):
        runs = arms.runs(random, tested.means, seeds, number)
        failed = arms.diverged(random, runs.shape, place)
        guessing = GUESSING * max(arms.deviations)
        runs = np.where(failed, guessing, runs)
        with_all.append(read(tested, runs, np.ones(runs.shape, bool)))
        apart = failed & ~failed.all(axis=-1, keepdims=True)
        without.append(read(tested, runs, ~apart) if apart.any() else with_all[-1])
    halved = [one_sided and tested.margin > 0 and not tested.claim.of_absence for tested in report]
    return told(report, with_all, halved), told(report, without, halved)


Read = tuple[tuple[Contrast, ...], np.ndarray]  # aligned contrasts, and p of both tests (reports, 2)


def read(tested: Tested, runs: np.ndarray, kept: np.ndarray) -> Read:
    """A claim by the runs that are kept; p is 1 where an arm has fewer than 2."""
    count = kept.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = runs.sum(axis=-1, where=kept) / count
        variances = ((runs - means[..., None]) ** 2).sum(axis=-1, where=kept) / (count - 1)
        contrasts = [
            Contrast(
                np.tensordot(w, means, axes=1),
                np.moveaxis(w[:, None] ** 2 * variances, 0, -1)[:, w != 0],
                np.moveaxis(count, 0, -1)[:, w != 0],
            )
            for w in WEIGHTS[tested.kind]
        ]
        turned = aligned(tested.claim, contrasts)
        p = cautious(np.stack(p_values(tested.claim, turned), axis=-1), turned)
    return turned, np.where((count < 2).any(axis=0)[:, None], 1.0, p)


def told(report: Sequence[Tested], readings: Sequence[Read], halved: Sequence[bool]) -> np.ndarray:
    """Verdicts (reports, claims) from p values adjusted over each report."""
    p = np.stack([p for _, p in readings], axis=1)
    adjusted = adjust(np.where(np.array(halved)[:, None], p / 2, p))
    return np.stack(
        [
            settled(tested.claim, turned, *np.moveaxis(adjusted[:, place], -1, 0))
            for place, (tested, (turned, _)) in enumerate(zip(report, readings, strict=True))
        ],
        axis=1,
    )


def shares(report: Sequence[Tested], told: np.ndarray) -> tuple[float, float, float]:
    """Percent of claims supported and refuted, and of reports with a false verdict."""
    false = np.stack([np.isin(told[:, i], [*tested.false]) for i, tested in enumerate(report)], axis=1)
    rates = (told == "supported").mean(), (told == "refuted").mean(), false.any(axis=1).mean()
    return tuple(100 * float(rate) for rate in rates)


# ------------------------------------------------------------------------------------------ what is asked


def coverage(p: np.ndarray) -> float:
    """Percent of 95 % intervals that cover the truth."""
    return 100 * float(np.mean(p >= ALPHA))


def false_reports(p: np.ndarray) -> float:
    """Percent of reports of 20 claims, none of them true, of which at least one is called supported or refuted;
    `p` are two-sided p values of claims."""
    claims = p[: len(p) // CLAIMS * CLAIMS].reshape(-1, CLAIMS)
    adjusted = adjust(np.stack([claims, np.ones_like(claims)], axis=-1))
    return 100 * float((adjusted.min(axis=(1, 2)) < ALPHA).mean())


def correlated_p(seeds: int, correlation: float, number: int, random: np.random.Generator) -> np.ndarray:
    """p of Welch's test of two equal arms whose seeds correlate: below 0.05 where the 95 % interval misses 0."""
    runs = Arms((1.0,), correlation=correlation).runs(random, np.zeros(2), seeds, number)
    return welch_p(np.moveaxis(runs, 0, 1), (0, 1))


def one_diverged(seeds: int, number: int, random: np.random.Generator) -> tuple[float, float, float]:
    """Percent of 95 % intervals of the difference of two arms, of one of which one run diverged, that cover the
    difference of the runs that train; that with guessing once in so many seeds; and, without that run, the first."""
    a, b = random.standard_normal((2, number, seeds)) * np.array((1.0, 0.5))[:, None, None]
    trained = a[:, 1:]
    a[:, 0] = GUESSING
    shown, without = contrast([a, b], [1, -1], 0.0), contrast([trained, b], [1, -1], 0.0)
    truths = [(shown, 0.0), (shown, GUESSING / seeds), (without, 0.0)]
    return tuple(
        100 * float(np.mean((c.interval[0] <= truth) & (truth <= c.interval[1]))) for c, truth in truths
    )


def power(seeds: int, effect: float, level: float, number: int, random: np.random.Generator) -> float:
    """Percent of comparisons of two equal arms that find an effect of so many standard deviations."""
    a, b = random.standard_normal((2, number, seeds))
    return 100 * float(np.mean(contrast([a + effect, b], [1, -1], 0.0).p_above(0) < level))


def bootstrap_coverage(seeds: int, draw: Callable, number: int, random: np.random.Generator) -> float:
    """Percent of BCa intervals of a difference of two means that cover it."""
    intervals = np.array([bca_interval(draw(random, (2, seeds)), (1, -1)) for _ in range(number)])
    return 100 * float(((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0)).mean())


def permutation_p(a: np.ndarray, b: np.ndarray) -> float:
    """p of the permutation test of Welch's t against no difference, in either direction."""

    def t(*samples: np.ndarray, axis: int) -> np.ndarray:
        c = contrast(samples, (1, -1), 0.0)
        return c.effect / c.error

    test = Permuted((a, b), np.array((1, -1)), t)
    return test.p_above(0) if a.mean() > b.mean() else test.p_below(0)


def permutation_errors(seeds: int, scenario: str, number: int, random: np.random.Generator) -> float:
    """Percent of permutation tests at 0.05 that see a difference between a noisy and a quiet arm of equal mean."""
    runs = reports(random, scenario, seeds, number)
    return 100 * float(np.mean([permutation_p(study[-1], study[0]) < ALPHA for study in runs]))


def paired_width(
    seeds: int, correlation: float, level: float, number: int, random: np.random.Generator
) -> float:
    """Mean width of the interval over paired seeds at a level, as part of that of Welch's."""
    covariance = [[1, correlation], [correlation, 1]]
    a, b = np.moveaxis(random.multivariate_normal([0, 0], covariance, (number, seeds)), -1, 0)
    pairs, arms = contrast([a - b], [1], 0.0), contrast([a, b], [1, -1], 0.0)
    widths = [np.mean(stats.t.isf(level / 2, c.freedom) * c.error) for c in (pairs, arms)]
    return float(widths[0] / widths[1])


def main() -> None:
    random = np.random.default_rng(0)
    title(
        "Coverage of 95 % intervals, and reports of 20 claims with a false verdict (at most 5 %), in percent"
    )
    told = (f"{told}, {method}" for method in METHODS for told in ("covers", "false reports"))
    head("runs", "n", "claims", *told)
    for scenario in SCENARIOS:
        for seeds in SEEDS:
            runs = reports(random, scenario, seeds, 20_000)
            for claims, pair in PAIRS.items():
                p = [method(runs, pair) for method in METHODS.values()]
                told = (f"{asked(x):.1f}" for x in p for asked in (coverage, false_reports))
                row(scenario, seeds, claims, *told)
    title("Coverage of Welch's 95 % intervals in percent, by the correlation of the seeds of two equal arms")
    correlations = (-0.67, -0.5, -0.3, 0, 0.3, 0.5, 0.8)
    head("n", *(f"{r:g}".replace("-", "−") for r in correlations))
    for seeds in SEEDS:
        p = [correlated_p(seeds, r, 40_000, random) for r in correlations]
        row(seeds, *(f"{coverage(x):.1f}" for x in p))
    title("Coverage of 95 % intervals in percent where one run of one arm diverged")
    head("n", "of the mean of runs that train", "with guessing once in n", "without that run, of the first")
    for seeds in SEEDS:
        row(seeds, *(f"{covers:.1f}" for covers in one_diverged(seeds, 40_000, random)))
    title("Power of Welch's test in percent, against the effect in standard deviations of an arm")
    effects = (0.5, 1, 2, 3, 4, 6, 8)
    head("n", "level", *effects)
    for seeds in SEEDS:
        for name, level in LEVELS.items():
            row(seeds, name, *(f"{power(seeds, effect, level, 10_000, random):.0f}" for effect in effects))
    title("Coverage of BCa bootstrap intervals in percent")
    head("n", "normal", "heavy tails")
    for seeds in (6, 10, 20):
        row(seeds, *(f"{bootstrap_coverage(seeds, draw, 1000, random):.1f}" for draw in (normal, heavy)))
    title("Errors of the permutation test at 0.05 in percent, between the noisiest and the quietest arm")
    head("n", *SCENARIOS)
    for seeds in (6, 10):
        row(seeds, *(f"{permutation_errors(seeds, scenario, 500, random):.1f}" for scenario in SCENARIOS))
    title("Width of the interval over paired seeds, as part of Welch's, by their correlation")
    correlations = (0, 0.3, 0.4, 0.5, 0.6, 0.9)
    head("n", "level", *correlations)
    for seeds in SEEDS:
        for name, level in LEVELS.items():
            row(seeds, name, *(f"{paired_width(seeds, r, level, 10_000, random):.2f}" for r in correlations))
    title(
        "Verdicts on 20 claims by kind and true effect in margins: supported, refuted, false reports, in percent"
    )
    head("claims", *(f"n = {seeds}" for seeds in SEEDS))
    for name, report in REPORTS.items():
        found = (final(report, seeds, 4000, random) for seeds in SEEDS)
        row(name, *(", ".join(f"{share:.1f}" for share in of_seeds) for of_seeds in found))
    title(
        "Reports of 20 claims, where any difference matters and there is none, with a false verdict, in percent"
    )
    report = REPORTS["greater, 0, any matters"]
    head("runs", *(f"n = {seeds}" for seeds in SEEDS))
    for name in ("deviations 1 to 2", "deviations 1 to 5", "deviations 1 to 10", "deviations 1 to 20"):
        found = (
            final(report, seeds, 10_000, np.random.default_rng(0), ARMS_VARY[name])[2] for seeds in SEEDS
        )
        row(name, *(f"{false:.1f}" for false in found))
    title(
        "Reports of the claims of the suite digits with a false verdict, in percent, all true effects where one is "
        "likeliest; and were p values one-sided where that can be"
    )
    report = of_suite("digits")
    head("runs", *(f"n = {seeds}{told}" for told in ("", ", one-sided") for seeds in SEEDS))
    for name, arms in ARMS_VARY.items():
        found = (
            final(report, seeds, 10_000, np.random.default_rng(0), arms, one_sided)[2]
            for one_sided in (False, True)
            for seeds in SEEDS
        )
        row(name, *(f"{false:.1f}" for false in found))


def final(report: Sequence[Tested], *how: object) -> tuple[float, float, float]:
    """Shares of the verdicts that hold with and without diverged runs."""
    return shares(report, agreed(*verdicts(report, *how)))


def title(told: str) -> None:
    print(f"\n{told}\n")


def head(*cells: object) -> None:
    row(*cells)
    row(*["---"] * len(cells))


def row(*cells: object) -> None:
    print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
