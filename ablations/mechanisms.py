"""What diagnostics measure: titles, axes, what sums a panel up, what is published of it. No torch.

A table of a diagnostic has a row a point: the levels of the arm, `seed`, `status` of the run, `panel`, `position`
along the panel's axis (of two axes, `across` too) and `value`; a trained network that diverged has one row a panel,
without position and value. `ablations.mechanism_findings` turns it into sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, isnan, log, nan

import numpy as np
import pandas as pd

from ablations import layout
from ablations.collect import read_table
from ablations.config import with_minus
from ablations.plan import PlannedStudy

INITIAL = "at initialisation"  # the panel of networks with the weights that training begins with
ANY = "whatever the weights"
TRAINED = "trained"
DELETED, SEVERAL, SWAPPED = "a block deleted", "blocks deleted at random", "a block swapped with the next"
JACOBIANS_INITIAL, JACOBIANS_TRAINED = "Jacobians at initialisation", "Jacobians, trained"
FIRST, LAST, RATE = "first layer", "last layer", "rate of the gradient"
RANGE, SMOOTHNESS = "variation of the loss", "smoothness"
FIRST_BLOCK, MIDDLE_BLOCK, LAST_BLOCK = "first block", "middle block", "last block"
MOMENTS_OF = (FIRST_BLOCK, MIDDLE_BLOCK, LAST_BLOCK)
MEAN, DEVIATION = "mean, {}", "deviation, {}"
POWER_STEPS = 2  # of power iteration, after a first product: 12 give singular values 10 to 25 % larger


# From the points of an arm in a panel, and their curve (the middle of the runs at each position): words, or a number.
Tell = Callable[[pd.DataFrame, pd.Series], str]
Number = Callable[[pd.DataFrame, pd.Series], float]


def height(points: pd.DataFrame, curve: pd.Series) -> float:
    """How high a curve lies: its median."""
    return float(curve.median())


@dataclass(frozen=True)
class Row:
    """Panels beside each other: `value` names the vertical axis that they share, `panels` the horizontal one of each;
    `tell` turns the points of an arm in a panel into words; of many arms, those where `by` is lowest and highest are
    told. The middle of runs is their mean, on a logarithmic axis, where the highest would outweigh all others, their
    median."""

    value: str
    panels: dict[str, str]
    tell: Tell
    logarithmic: bool = False
    by: Number = height
    told: bool = True  # in the paragraph

    def curve(self, points: pd.DataFrame) -> pd.Series:
        """The middle of the runs at each position."""
        values = points.groupby("position")["value"]
        return values.median() if self.logarithmic else values.mean()


@dataclass(frozen=True)
class Measure:
    """A number that sums up an arm in a panel; `away` says how far it is from where published work wants it."""

    panel: str
    name: str  # in words
    of: Number
    away: Callable[[float], float] = float


@dataclass(frozen=True)
class Mechanism:
    """What a diagnostic shows, its panels in rows."""

    title: str
    rows: tuple[Row, ...]
    method: str  # Markdown: what is measured, and its source; told once in a report
    measures: tuple[Measure, ...]  # what captions and conclusions are about
    # What is said of arms with a trait (of `ablations.mechanism_findings.TRAITS`), beside arms without it; of
    # "chance", of every arm beside guessing.
    published: dict[str, str] = field(default_factory=dict)
    unlike: str = ""  # what the published work did otherwise, so that the comparison with it is loose
    place: tuple[str, ...] = ("position",)  # the columns that say where a value was taken
    seeds: int = 3  # so many of an arm are measured, the first, to save time
    counted: bool = False  # follows from the networks' definition: no seeds, nothing to find out
    shown: str = ""  # what the figure's marks are, beside lines of runs and their middles
    lines: bool = True  # whether there are such lines
    lacking: str = "none of these runs is finished, with its weights here"  # why the table may be empty

    @property
    def panels(self) -> dict[str, Row]:
        """The row of each panel."""
        return {panel: row for row in self.rows for panel in row.panels}


def read_diagnostic(suite: str, planned: PlannedStudy, name: str) -> pd.DataFrame | None:
    """The table of a diagnostic; None where it is not there."""
    path = layout.diagnostic(suite, planned.name, name)
    return read_table(path, dtype=dict.fromkeys(planned.factors, str)) if path.is_file() else None


def drawable(table: pd.DataFrame) -> bool:
    """Whether there is a value to draw: not where every run has diverged."""
    return bool(table["value"].notna().any())


def fills_page(planned: PlannedStudy, name: str, table: pd.DataFrame) -> bool:
    """Whether the figure of a diagnostic takes the whole width of a page: one of more than two panels."""
    mechanism, measured = MECHANISMS[name], table.dropna(subset="value")
    by = "panel" if len(mechanism.place) == 1 else planned.study.diagnostics[name].colour
    return measured[measured["panel"].isin(mechanism.panels)][by].nunique() > 2


def number(value: float) -> str:
    """A number as printed, to three digits; from a million on, and below a thousandth, with its power of ten."""
    if value and np.isfinite(value) and not 1e-3 <= abs(value) < 1e6:
        digits, power = f"{value:.2e}".split("e")
        return with_minus(f"{float(digits):g}") + f" × 10^{with_minus(str(int(power)))}^"
    rounded = f"{value:.3g}"
    return with_minus(f"{float(rounded):,.0f}" if abs(value) >= 1000 else rounded)


def of_runs(points: pd.DataFrame, measure: Callable[[pd.DataFrame], float]) -> list[float]:
    """A measure of each run, of those where there is one."""
    return [value for _, run in points.groupby("seed") if not isnan(value := measure(run))]


def over_runs(measure: Callable[[pd.DataFrame], float]) -> Number:
    """The mean over runs of a measure; NaN where no run has one."""

    def mean(points: pd.DataFrame, curve: pd.Series) -> float:
        values = of_runs(points, measure)
        return float(np.mean(values)) if values else nan

    return mean


def by_run(points: pd.DataFrame, measure: Callable[[pd.DataFrame], float]) -> str:
    """Mean and range over runs of a measure, of those where there is one."""
    values = of_runs(points, measure)
    if not values:
        return "undefined"
    mean, low, high = (number(float(of(values))) for of in (np.mean, min, max))
    return mean if low == high else f"{mean} ({low} to {high})"


def from_one(rate: float) -> float:
    """How far a rate is from 1, up or down."""
    return abs(log(rate)) if rate > 0 else inf


# ------------------------------------------------------------------------------------------ gradients


def rate(run: pd.DataFrame) -> float:
    """lambda of the least-squares fit norm_l = C lambda^(L - l) over the layers l = 1 .. L of a run; NaN where fewer
    than two gradients are above 0."""
    seen = run[run["value"] > 0]
    if len(seen) < 2:
        return nan
    return float(np.exp(-np.polyfit(seen["position"], np.log(seen["value"]), 1)[0]))


def tell_gradients(points: pd.DataFrame, curve: pd.Series) -> str:
    return f"$\\lambda$ {by_run(points, rate)}"


def gain(run: pd.DataFrame) -> float:
    """The geometric mean of the gains of a run's blocks."""
    return float(np.exp(np.log(run["value"]).mean())) if (run["value"] > 0).all() else 0.0


def tell_gains(points: pd.DataFrame, curve: pd.Series) -> str:
    return f"$\\lambda_J$ {by_run(points, gain)}"


def bound(gradients: pd.DataFrame, gains: pd.DataFrame) -> pd.Series:
    """By the number of layers passed, of an arm, from what enters the first block to what the last puts out: the
    largest that the gradient can be, its norm at the last times the gains of the blocks that it has come back through;
    the median of runs. Empty where there are no gains."""
    lines = []
    for seed, run in gradients.groupby("seed"):
        *inner, _ = run.sort_values("position")[["position", "value"]].to_numpy()  # without the logits
        of_run = gains[gains["seed"] == seed].sort_values("position")["value"]
        if len(of_run) and len(of_run) == len(inner) - 1:
            places, norms = np.array(inner).T
            grown = of_run.to_numpy() ** np.diff(places)
            lines.append(pd.Series(norms[-1] * np.append(np.cumprod(grown[::-1])[::-1], 1.0), places))
    return pd.concat(lines, axis=1).median(axis=1) if lines else pd.Series(dtype=float)


def tell_correlation(points: pd.DataFrame, curve: pd.Series) -> str:
    return (
        f"{number(curve.iloc[1])} at {curve.index[1]:.2g} of the way, {number(curve.iloc[-1])} at half of it"
    )


def nearest(points: pd.DataFrame, curve: pd.Series) -> float:
    """At the smallest distance above 0."""
    return float(curve.iloc[1])


# ------------------------------------------------------------------------------------------ courses and blocks


def at_first(points: pd.DataFrame, curve: pd.Series) -> float:
    """Of the first epoch looked at, or block."""
    return float(curve.iloc[0])


def at_last(points: pd.DataFrame, curve: pd.Series) -> float:
    """Of the last epoch looked at, or block."""
    return float(curve.iloc[-1])


def furthest_from_one(points: pd.DataFrame, curve: pd.Series) -> float:
    return max(curve.dropna(), key=from_one, default=nan)


def fluctuation(points: pd.DataFrame, curve: pd.Series) -> float:
    """The highest of a curve over the lowest."""
    return float(curve.max() / curve.min()) if curve.min() > 0 else inf


def mean_height(points: pd.DataFrame, curve: pd.Series) -> float:
    return float(curve.mean())


def tell_course(points: pd.DataFrame, curve: pd.Series) -> str:
    """Before the first and after the last epoch, and the highest where that is between."""
    ends = f"{number(curve.iloc[0])} at first, {number(curve.iloc[-1])} after epoch {curve.index[-1]:g}"
    between = curve.max() > max(curve.iloc[0], curve.iloc[-1])
    return ends + (f", {number(curve.max())} after epoch {curve.idxmax():g}" if between else "")


def tell_moments(points: pd.DataFrame, curve: pd.Series) -> str:
    """Before the first and after the last epoch."""
    curve = curve.round(2) + 0.0  # no -0
    return f"{curve.iloc[0]:.2f} at first, {curve.iloc[-1]:.2f} after epoch {curve.index[-1]:g}"


def tell_blocks(points: pd.DataFrame, curve: pd.Series) -> str:
    """Of the first and the last block, and the mean over blocks."""
    return (
        f"{number(curve.iloc[0])} in block {curve.index[0]:g}, {number(curve.iloc[-1])} in block "
        f"{curve.index[-1]:g}, {number(curve.mean())} on average"
    )


# ------------------------------------------------------------------------------------------ uncertainty


def tell_uncertainty(points: pd.DataFrame, curve: pd.Series) -> str:
    """Mean entropies of the images classified rightly and wrongly, and how well the entropy tells them apart."""
    wrong = points["value"] > 0

    def mean(images: pd.Series) -> str:
        return number(points.loc[images, "position"].mean()) if images.any() else "none"

    return f"entropy {mean(~wrong)} where right, {mean(wrong)} where wrong, AUROC {by_run(points, auroc)}"


def auroc(run: pd.DataFrame) -> float:
    """The probability that a wrong image has a higher entropy than a right one, ties by half (the area under the
    receiver operating characteristic); NaN where all are right or all wrong."""
    wrong = run["value"] > 0
    count = int(wrong.sum())
    if count in (0, len(run)):
        return nan
    ranks = run["position"].rank()[wrong].sum()
    return float((ranks - count * (count + 1) / 2) / (count * (len(run) - count)))


# ------------------------------------------------------------------------------------------ lesions and paths


def tell_lesions(points: pd.DataFrame, curve: pd.Series) -> str:
    """Errors intact and after lesions: the median and the highest over single ones, that of half the blocks."""
    intact, lesioned = f"{number(curve.iloc[0])} % intact", curve.iloc[1:]
    if lesioned.empty:
        return intact
    if points["panel"].iloc[0] == SEVERAL:
        half = len(lesioned) // 2
        return f"{intact}, {number(curve.iloc[half])} % without {half} of {len(lesioned)} blocks"
    return f"{intact}, {number(lesioned.median())} % in the median, {number(lesioned.max())} % at worst"


def cost_of_lesion(points: pd.DataFrame, curve: pd.Series) -> float:
    """How much the error rises by a lesion, in the median over those."""
    return float(curve.iloc[1:].median() - curve.iloc[0])


def mean_length(points: pd.DataFrame, curve: pd.Series) -> float:
    """Of curves in percent, by length."""
    return float((curve / 100 * curve.index).sum())


def tell_lengths(points: pd.DataFrame, curve: pd.Series) -> str:
    """Mean and standard deviation of the lengths."""
    mean = mean_length(points, curve)
    deviation = (curve / 100 * (curve.index - mean) ** 2).sum() ** 0.5
    return f"{number(mean)} $\\pm$ {number(deviation)} blocks"


# ------------------------------------------------------------------------------------------ landscapes


def at_the_ends(points: pd.DataFrame, curve: pd.Series) -> float:
    """The geometric mean of both ends."""
    return float(np.sqrt(curve.iloc[0] * curve.iloc[-1]))


def tell_loss(points: pd.DataFrame, curve: pd.Series) -> str:
    """The loss of the trained network, and at both ends of the direction."""
    ends = number(at_the_ends(points, curve))
    return f"{number(curve.iloc[len(curve) // 2])} at the trained weights, {ends} at a distance of 1"


def over_plane(points: pd.DataFrame, curve: pd.Series) -> float:
    return float(points["value"].median())


def tell_plane(points: pd.DataFrame, curve: pd.Series) -> str:
    """The loss of the trained network, and the median and the highest over the plane."""
    centre = points[(points["position"] == 0) & (points["across"] == 0)]["value"].iloc[0]
    median, highest = over_plane(points, curve), points["value"].max()
    return (
        f"{number(centre)} at the trained weights, {number(median)} in the median, {number(highest)} at most"
    )


# ------------------------------------------------------------------------------------------ the mechanisms

NEARER_TO_ONE = {
    "shortcuts": "$\\lambda$ is nearer to 1 with shortcuts [@he2016]",
    "norm": "$\\lambda$ is nearer to 1 with a norm [@ioffe2015]",
}
FLATTER = {"shortcuts": "the loss is flatter around the weights with shortcuts [@li2018]"}
RUNNING = (
    "Batch norm keeps its running averages, which away from the trained weights are no longer those of the batch; part of "
    "the rise is theirs."
)


MECHANISMS = {
    "gradient-by-layer": Mechanism(
        title="Gradient by layer",
        rows=(
            Row(
                "norm of the gradient",
                dict.fromkeys((INITIAL, TRAINED), "layer"),
                tell_gradients,
                logarithmic=True,
                by=over_runs(rate),
            ),
            Row(
                "gain of a layer",
                dict.fromkeys((JACOBIANS_INITIAL, JACOBIANS_TRAINED), "block"),
                tell_gains,
                logarithmic=True,
                by=over_runs(gain),
            ),
        ),
        method=(
            "The Euclidean norm of the gradient of the loss with respect to what enters the first block, what each block "
            "puts out, and the logits (without blocks, what each layer puts out), on 32 validation images, normalised as a "
            "batch, nothing dropped [after @glorot2010, section 4.2]. Of "
            "$\\lVert\\partial\\mathcal{L}/\\partial\\mathbf{x}_l\\rVert = C\\lambda^{L-l}$, with $l$ of $L$ layers passed, "
            "the rate $\\lambda$ is fitted by least squares to the logarithms: below 1 gradients vanish on the way back, "
            "above 1 they explode; undefined where they are zero. On its way back through a block a gradient grows by no "
            "more than the largest singular value of the block's Jacobian, whose root for each layer of the block is the "
            "gain of a layer, with the geometric mean $\\lambda_J$ over blocks. So the gradient is bounded by its norm $C$ at "
            "the last block times the gains of the layers that it has come back through, $C\\lambda_J^{L-l}$ for all of them: the "
            f"dashed lines. Singular values are estimated from below, by {POWER_STEPS} steps of power iteration from the gradient "
            "itself on: each by 10 to 25 % too small, so that the product over many blocks can lie well below that of the true "
            "norms, and yet not below the gradient. Means over runs and "
            "their range; curves are medians."
        ),
        measures=(
            Measure(INITIAL, "$\\lambda$ at initialisation", over_runs(rate), from_one),
            Measure(TRAINED, "$\\lambda$ of trained networks", over_runs(rate), from_one),
        ),
        published=NEARER_TO_ONE,
        unlike="argued there from the equations, not measured like this",
        shown="dashed lines are the bound by the estimated gains of the blocks' Jacobians, and may leave the axes",
    ),
    "response-magnitude": Mechanism(
        title="Response of each block",
        rows=(Row("response / input", dict.fromkeys((INITIAL, TRAINED), "block"), tell_blocks),),
        method=(
            "The standard deviation of the output of each block's transform, before the addition (in a plain network "
            "before the ReLU), over that of the block's input, on up to 256 validation images, normalised as a batch: "
            "where it is small, a residual block changes its input little [after @he2015, section 4.2 and Fig. 7, who show "
            "the deviation of each layer's response by itself: 1 at initialisation for any transform that ends with a norm]. "
            "Means over runs."
        ),
        measures=(
            Measure(INITIAL, "mean ratio over blocks at initialisation", mean_height),
            Measure(TRAINED, "that of trained networks", mean_height),
        ),
        published={"shortcuts": "networks with shortcuts respond less [@he2015]"},
        unlike="measured there of each layer by itself, not over its input",
    ),
    "branch-variance": Mechanism(
        title="Blocks near the identity",
        rows=(Row("variance ratio", {INITIAL: "block"}, tell_blocks, logarithmic=True),),
        method=(
            "The variance of what each block's transform adds, over that of what it is added to (over images and pixels, "
            "mean over channels). With batch norm on the transform its variance stays 1 while that of the shortcut grows by "
            "1 a block, so that deep blocks start near the identity; without a norm both grow together [@de2020]. Medians "
            "over runs."
        ),
        measures=(Measure(INITIAL, "variance ratio of the last block", at_last),),
        published={"norm": "deep blocks start nearer to the identity with a norm [@de2020]"},
    ),
    "lesions": Mechanism(
        title="Lesions",
        rows=(
            Row(
                "validation error (%)",
                {
                    DELETED: "block (0 = intact)",
                    SEVERAL: "blocks deleted",
                    SWAPPED: "first of both (0 = intact)",
                },
                tell_lesions,
            ),
        ),
        method=(
            "The error of trained networks on validation images after lesions, without any further training "
            "[@veit2016, sections 4.1 to 4.3]: a block deleted, blocks deleted one after another in a random order, "
            "and a block swapped with the next. A deleted block leaves its shortcut; in a plain network, its input. Blocks "
            "of a plain network that change the shape stay, and only neighbours of equal shape are swapped. Means over runs."
        ),
        measures=(
            Measure(
                DELETED,
                "rise of the error by deleting a block (median over blocks, in percentage points)",
                cost_of_lesion,
            ),
        ),
        published={"shortcuts": "deleting a block costs less with shortcuts [@veit2016]"},
    ),
    "path-lengths": Mechanism(
        title="Lengths of paths",
        rows=(Row("paths (%)", {ANY: "transforms on the path"}, tell_lengths),),
        method=(
            "A residual network of $n$ blocks is a sum over $2^n$ paths, for each block goes by the shortcut or by the "
            "transform; their lengths are binomial, of $n$ and 1/2; a plain network has one path "
            "[@veit2016, sections 3 and 5]. Mean length and standard deviation."
        ),
        measures=(Measure(ANY, "mean number of transforms on a path", mean_length),),
        counted=True,
        shown="the share of paths of each length, counted from the networks' definition",
        lines=False,
    ),
    "gradient-correlation": Mechanism(
        title="Shattered gradients",
        rows=(
            Row(
                "cosine of gradients",
                dict.fromkeys((INITIAL, TRAINED), "part of the way"),
                tell_correlation,
            ),
        ),
        method=(
            "The cosine of the angle between the gradients of the first logit with respect to the input, at two points "
            "on the straight line from one validation image to another, by the part of the way between them; the mean over "
            "4 pairs of images and all points so far apart, normalised as one batch, so that every gradient depends on all "
            "of them a little [after @balduzzi2017]. In plain networks gradients are said to turn into white noise with "
            "depth, at 0 for the nearest neighbours too. Means over runs."
        ),
        measures=(
            Measure(
                INITIAL, "cosine between nearest points at initialisation", nearest, lambda cosine: -cosine
            ),
        ),
        published={"shortcuts": "gradients at near points stay more alike with shortcuts [@balduzzi2017]"},
        unlike="measured there on inputs of one dimension",
    ),
    "loss-curve": Mechanism(
        title="Loss along a random direction",
        rows=(
            Row("loss (nats)", {TRAINED: "distance from the trained weights"}, tell_loss, logarithmic=True),
        ),
        method=(
            "The loss (cross-entropy in nats, units of the natural logarithm) on 32 validation images at 9 points along a "
            "random direction, one a seed, each of whose filters has the norm of the trained filter; scales, shifts and "
            "biases stay [@li2018, section 4]. "
            + RUNNING
            + " Medians over runs; at a distance of 1 the geometric mean of "
            "both sides."
        ),
        measures=(Measure(TRAINED, "loss in nats at a distance of 1", at_the_ends),),
        published=FLATTER,
        unlike="judged there by eye, on finer grids",
    ),
    "loss-contour": Mechanism(
        title="Loss over a plane of random directions",
        rows=(
            Row(
                "loss (nats)",
                {TRAINED: "along one direction"},
                tell_plane,
                logarithmic=True,
                by=over_plane,
            ),
        ),
        place=("position", "across"),
        seeds=1,
        shown="lines join weights of equal loss, at the heights marked on the bar, the same in every panel; crosses mark "
        "the trained weights",
        lines=False,
        method=(
            "The same over the plane through the trained weights along two such directions, on a grid of 9 by 9 points, "
            "too coarse for fine ruggedness, of the first seed of each arm [@li2018, section 4]."
        ),
        measures=(Measure(TRAINED, "median loss in nats over the plane", over_plane),),
        published=FLATTER,
        unlike="judged there by eye, on finer grids",
    ),
    "dropout-uncertainty": Mechanism(
        title="Uncertainty by dropping while testing",
        rows=(
            Row(
                "error (%)",
                {TRAINED: "fifth of the images, by entropy"},
                tell_uncertainty,
                by=over_runs(auroc),
            ),
        ),
        shown="a point is the error in a fifth of up to 256 images, the first with the lowest entropy",
        lacking="the networks of these arms drop nothing, or none of their runs is finished",
        method=(
            "Class probabilities of validation images, the mean of 20 passes through the trained network that each drop "
            "other units, channels, weights or blocks, as while training, batch norm with its running averages "
            "[@gal2016]: does their entropy, in nats, tell which images are classified wrongly? The area under the receiver "
            "operating characteristic (AUROC) is the probability that a wrong image has the higher entropy of two: 0.5 is "
            "chance. Networks that drop nothing are left out. Means over runs and their range."
        ),
        measures=(Measure(TRAINED, "AUROC", over_runs(auroc), lambda area: 0.5 - area),),
        published={"chance": "the entropy is higher where the network errs [@gal2016]"},
        unlike="there of dropout alone",
    ),
    "gradient-through-training": Mechanism(
        title="Gradient through training",
        rows=(
            Row("norm of the gradient", dict.fromkeys((FIRST, LAST), "epoch"), tell_course, logarithmic=True),
            Row("$\\lambda$", {RATE: "epoch"}, tell_course),
        ),
        method=(
            "The norm of the gradient at the first and at the last of these places, and the rate $\\lambda$ over all of them, "
            "measured as the gradient by layer, at initialisation, after 1, 2, 4, ... epochs, and of the trained network "
            "[after @glorot2010, section 4.2]. Norms are medians over runs, rates means."
        ),
        measures=(Measure(RATE, "$\\lambda$ where it is furthest from 1", furthest_from_one, from_one),),
        published=NEARER_TO_ONE,
        unlike="argued there from the equations, not measured like this",
    ),
    "loss-along-gradient": Mechanism(
        title="Smoothness along the gradient",
        rows=(
            Row("range of the loss (nats)", {RANGE: "epoch"}, tell_course, logarithmic=True),
            Row("change / distance", {SMOOTHNESS: "epoch"}, tell_course, logarithmic=True),
        ),
        method=(
            "From the weights at initialisation, after 1, 2, 4, ... epochs, and after the last, steps of 0.05, 0.1 and "
            "0.2 times the gradient are taken down the gradient of the loss on 32 validation images, normalised as a "
            "batch. The variation of the loss is its range over these steps and the start, in nats; the smoothness is the "
            "largest change of the gradient over the distance moved, $\\max_\\eta\\lVert g(w) - g(w - \\eta g)\\rVert / "
            "\\lVert\\eta g\\rVert$, an estimate from below of the gradient's Lipschitz constant [after @santurkar2018]. "
            "Infinite where numbers overflow; near 0 also in a network that has stopped learning. Medians over runs."
        ),
        measures=(
            Measure(SMOOTHNESS, "smoothness at initialisation", at_first),
            Measure(SMOOTHNESS, "that after the last epoch", at_last),
            Measure(RANGE, "variation of the loss at initialisation", at_first),
            Measure(RANGE, "that after the last epoch", at_last),
        ),
        published={"norm": "variation and smoothness are lower with a norm [@santurkar2018]"},
        unlike="there of a VGG network, at every step, over a wide range of step sizes",
    ),
    "activation-moments": Mechanism(
        title="Moments of activations",
        rows=(
            Row("mean", {MEAN.format(block): "epoch" for block in MOMENTS_OF}, tell_moments, told=False),
            Row(
                "standard deviation", {DEVIATION.format(block): "epoch" for block in MOMENTS_OF}, tell_moments
            ),
        ),
        method=(
            "Mean and standard deviation, over up to 256 validation images, channels and pixels, of what enters the first "
            "ReLU of a block's transform (of a transform without one, the ReLU after it), in the first, the middle and the "
            "last block, at initialisation, after 1, 2, 4, ... epochs, and after the last. Batch norm was meant to hold such "
            "distributions still while the layers before them change, the internal covariate shift [@ioffe2015]; that it "
            "does, or that this is why it helps, has been disputed [@santurkar2018]. Means over runs."
        ),
        measures=(
            Measure(
                DEVIATION.format(FIRST_BLOCK),
                "largest over smallest standard deviation through training in the first block",
                fluctuation,
            ),
            Measure(DEVIATION.format(MIDDLE_BLOCK), "that in the middle block", fluctuation),
            Measure(DEVIATION.format(LAST_BLOCK), "that in the last block", fluctuation),
        ),
        published={"norm": "the distributions move less with a norm [@ioffe2015]"},
        unlike="shown there of one unit",
    ),
}
