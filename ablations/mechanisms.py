"""What diagnostics measure, and what their tables say: titles, axes, sentences with numbers. No torch.

A table of a diagnostic has a row a point: the levels of the arm, `seed`, `status` of the run, `panel`, `position`
along the panel's axis (of two axes, `across` too) and `value`; a trained network that diverged has one row a panel,
without position and value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
import pandas as pd

from ablations import layout
from ablations.collect import read_table
from ablations.config import words
from ablations.plan import PlannedStudy

INITIAL = "at initialisation"  # the panel of networks with the weights that training begins with
ANY = "whatever the weights"
TRAINED = "trained"
DELETED, SEVERAL, SWAPPED = "a block deleted", "blocks deleted at random", "a block swapped with the next"
GAIN_INITIAL, GAIN_TRAINED = "blocks at initialisation", "blocks, trained"
UNCERTAINTY = "dropping while testing"
FIRST, LAST, RATE = "first layer", "last layer", "rate of the gradient"
RANGE, SMOOTHNESS = "variation of the loss", "smoothness"
FIRST_BLOCK, MIDDLE_BLOCK, LAST_BLOCK = "first block", "middle block", "last block"
MOMENTS_OF = (FIRST_BLOCK, MIDDLE_BLOCK, LAST_BLOCK)
MEAN, DEVIATION = "mean, {}", "deviation, {}"


@dataclass(frozen=True)
class Row:
    """Panels beside each other: `value` names the vertical axis that they share, `panels` the horizontal one of each;
    `tell` turns the points of an arm in a panel into words."""

    value: str
    panels: dict[str, str]
    tell: Callable[[pd.DataFrame], str]
    logarithmic: bool = False


@dataclass(frozen=True)
class Mechanism:
    """What a diagnostic shows, its panels in rows."""

    title: str
    rows: tuple[Row, ...]
    method: str  # Markdown: what is measured, and its source
    place: tuple[str, ...] = ("position",)  # the columns that say where a value was taken
    seeds: int | None = None  # only so many of an arm are measured, the first
    # What the figure's marks are, for its caption; n counts seeds.
    shown: str = "n = {n} seeds an arm; thin lines are runs, thick lines their means"
    lacking: str = "none of these runs is finished"  # why the table may be empty

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


MOST_TOLD = 10  # findings in a paragraph; the table beside the figure has all


def paragraph(planned: PlannedStudy, name: str, table: pd.DataFrame) -> str:
    """What was measured, and the numbers found: means over seeds, by panel and level of the colour's factor; of many
    those of the first panels, so that it can be read."""
    mechanism, asked = MECHANISMS[name], planned.study.diagnostics[name]
    found, told_before = [], 0
    for panel, row in mechanism.panels.items():
        of_panel = table[table["panel"] == panel]
        told = []
        for level in (each.label for each in planned.factors[asked.colour].levels):
            points = of_panel[of_panel[asked.colour] == level]
            if points["value"].notna().any():
                told.append(f"*{level}* {row.tell(points.dropna(subset='value'))}")
        if told and told_before and told_before + len(told) > MOST_TOLD:
            break
        told_before += len(told)
        if told:
            found.append(f"{panel[0].upper()}{panel[1:]}, by {words(asked.colour)}: {'; '.join(told)}.")
    diverged = table[table["status"] == "diverged"][[*planned.factors, "seed"]].drop_duplicates()
    if len(diverged):
        arms = ", ".join(
            f"{level} ({count})" for level, count in diverged[asked.colour].value_counts().items()
        )
        found.append(f"Runs that diverged have no trained network to measure: {arms}.")
    return " ".join([mechanism.method, *found])


def number(value: float) -> str:
    """A number as printed, to three digits."""
    rounded = f"{value:.3g}"
    return f"{float(rounded):,.0f}" if abs(value) >= 1000 else rounded


def by_run(points: pd.DataFrame, measure: Callable[[pd.DataFrame], float]) -> str:
    """Mean and range over runs of a measure, of those where there is one."""
    values = [value for _, run in points.groupby("seed") if not isnan(value := measure(run))]
    if not values:
        return "undefined"
    spread = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
    return f"{number(float(np.mean(values)))}{spread}"


def rate(run: pd.DataFrame) -> float:
    """lambda of the least-squares fit norm_l = C lambda^(L - l) over the layers l = 1 .. L of a run; NaN where fewer
    than two gradients are above 0."""
    seen = run[run["value"] > 0]
    if len(seen) < 2:
        return nan
    return float(np.exp(-np.polyfit(seen["position"], np.log(seen["value"]), 1)[0]))


def tell_gradients(points: pd.DataFrame) -> str:
    return f"$\\lambda$ {by_run(points, rate)}"


def gain(run: pd.DataFrame) -> float:
    """The geometric mean of the gains of a run's blocks."""
    return float(np.exp(np.log(run["value"]).mean())) if (run["value"] > 0).all() else 0.0


def tell_gains(points: pd.DataFrame) -> str:
    return f"$\\lambda_J$ {by_run(points, gain)}"


def tell_course(points: pd.DataFrame) -> str:
    """The mean over runs before the first and after the last epoch, and the highest where that is between."""
    means = points.groupby("position")["value"].mean()
    ends = f"{number(means.iloc[0])} at first, {number(means.iloc[-1])} after epoch {means.index[-1]:g}"
    between = means.max() > max(means.iloc[0], means.iloc[-1])
    return ends + (f", {number(means.max())} after epoch {means.idxmax():g}" if between else "")


def tell_moments(points: pd.DataFrame) -> str:
    """The mean over runs before the first and after the last epoch."""
    means = points.groupby("position")["value"].mean().round(2) + 0.0  # no -0
    return f"{means.iloc[0]:.2f} at first, {means.iloc[-1]:.2f} after epoch {means.index[-1]:g}"


def tell_uncertainty(points: pd.DataFrame) -> str:
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


def tell_lesions(points: pd.DataFrame) -> str:
    """Errors intact and after lesions: the median and the highest over single ones, that of half the blocks."""
    errors = points.groupby("position")["value"].mean()
    intact, lesioned = f"{number(errors.iloc[0])} % intact", errors.iloc[1:]
    if lesioned.empty:
        return intact
    if points["panel"].iloc[0] == SEVERAL:
        half = len(lesioned) // 2
        return f"{intact}, {number(errors.iloc[half])} % without {half} of {len(lesioned)} blocks"
    return f"{intact}, {number(lesioned.median())} % in the median, {number(lesioned.max())} % at worst"


def tell_lengths(points: pd.DataFrame) -> str:
    """Mean and standard deviation of the lengths."""
    run = points[points["seed"] == points["seed"].iloc[0]]
    share = run["value"] / 100
    mean = (share * run["position"]).sum()
    deviation = (share * (run["position"] - mean) ** 2).sum() ** 0.5
    return f"{number(mean)} $\\pm$ {number(deviation)} blocks"


def tell_correlation(points: pd.DataFrame) -> str:
    means = points.groupby("position")["value"].mean()
    return (
        f"{number(means.iloc[1])} at {means.index[1]:.2g} of the way, {number(means.iloc[-1])} at half of it"
    )


def tell_loss(points: pd.DataFrame) -> str:
    """The loss of the trained network, and at both ends of the direction."""
    means = points.groupby("position")["value"].mean()
    ends = (means.iloc[0] + means.iloc[-1]) / 2
    return f"{number(means.iloc[len(means) // 2])} at the trained weights, {number(ends)} at a distance of 1"


def tell_plane(points: pd.DataFrame) -> str:
    """The loss of the trained network, and the median and the highest over the plane."""
    centre = points[(points["position"] == 0) & (points["across"] == 0)]["value"].iloc[0]
    median, highest = points["value"].median(), points["value"].max()
    return (
        f"{number(centre)} at the trained weights, {number(median)} in the median, {number(highest)} at most"
    )


def of_blocks(points: pd.DataFrame) -> str:
    """The mean over blocks, and those of the first and the last."""
    means = points.groupby("position")["value"].mean()
    return f"{number(means.mean())} on average, {number(means.iloc[0])} in block {means.index[0]:g}, {number(means.iloc[-1])} in block {means.index[-1]:g}"


MECHANISMS = {
    "gradient-by-layer": Mechanism(
        title="Gradient by layer",
        rows=(
            Row(
                "norm of the gradient",
                dict.fromkeys((INITIAL, TRAINED), "layer"),
                tell_gradients,
                logarithmic=True,
            ),
            Row(
                "gain of a layer",
                dict.fromkeys((GAIN_INITIAL, GAIN_TRAINED), "block"),
                tell_gains,
                logarithmic=True,
            ),
        ),
        method=(
            "The Euclidean norm of the gradient of the loss with respect to the output of each layer, on 32 "
            "validation images, normalised as a batch, nothing dropped [after @glorot2010, section 4.2]. Of "
            "$\\lVert\\partial\\mathcal{L}/\\partial\\mathbf{x}_l\\rVert = C\\lambda^{L-l}$ the rate $\\lambda$ is fitted by "
            "least squares to the logarithms: below 1 gradients vanish on the way back to the first layer, above 1 "
            "they explode; undefined where gradients are zero. $C\\lambda^L$ bounds the gradient if $\\lambda$ is the largest "
            "norm of a layer's Jacobian. What the blocks' Jacobians do to a vector like any other is estimated by random "
            "ones, two a block, that their transposes carry back: the factor by which these change in length, its root "
            "for each layer of the transform, is the gain of a layer, and $\\lambda_J$ its geometric mean over blocks. "
            "Where $\\lambda$ is near $\\lambda_J$, the gradient passes like a random vector. Mean over runs and their "
            "range."
        ),
    ),
    "response-magnitude": Mechanism(
        title="Response of each block",
        rows=(Row("standard deviation", dict.fromkeys((INITIAL, TRAINED), "block"), of_blocks),),
        method=(
            "The standard deviation of the output of each block's transform, before the addition (in a plain network "
            "before the ReLU), over up to 256 validation images, normalised as a batch [@he2015, section 4.2 and Fig. "
            "7, there of each layer]: where it is small, a residual block changes its input little. Means over runs."
        ),
    ),
    "branch-variance": Mechanism(
        title="Blocks near the identity",
        rows=(Row("variance ratio", {INITIAL: "block"}, of_blocks, logarithmic=True),),
        method=(
            "The variance of what each block's transform adds, over the variance of what it is added to (over images "
            "and pixels, mean over channels). With batch norm on the transform its variance stays 1 while that of the "
            "shortcut grows by 1 a block, so that deep blocks start near the identity, with a ratio of about 1 in block "
            "number, counted from the last block whose shortcut was normalised too; without a norm both grow together "
            "[@de2020]. Means over runs."
        ),
    ),
    "lesions": Mechanism(
        title="Lesions",
        rows=(
            Row(
                "validation error (%)",
                {DELETED: "block (0: none)", SEVERAL: "blocks deleted", SWAPPED: "block (0: none)"},
                tell_lesions,
            ),
        ),
        method=(
            "The error of trained networks on validation images after lesions, without any further training "
            "[@veit2016, sections 4.1 to 4.3]: a block deleted, blocks deleted one after another in a random order, "
            "and a block swapped with the next. A deleted block leaves its shortcut; in a plain network, its input. A "
            "plain network's blocks that change the shape are not deleted, since nothing else would make their input "
            "fit the next block; only neighbours of equal shape are swapped. Means over runs."
        ),
    ),
    "path-lengths": Mechanism(
        title="Lengths of paths",
        rows=(Row("paths (%)", {ANY: "transforms on the path"}, tell_lengths),),
        method=(
            "A residual network of $n$ blocks is a sum over $2^n$ paths, for each block goes by the shortcut or by the "
            "transform; their lengths are binomial, of $n$ and 1/2; a plain network has one path "
            "[@veit2016, sections 3 and 5]. Mean length and standard deviation."
        ),
    ),
    "gradient-correlation": Mechanism(
        title="Shattered gradients",
        rows=(
            Row(
                "cosine of the gradients' angle",
                dict.fromkeys((INITIAL, TRAINED), "part of the way between two images"),
                tell_correlation,
            ),
        ),
        method=(
            "The cosine of the angle between the gradients of the first logit with respect to the input, at two points "
            "on the straight line from one validation image to another, by their distance; the mean over 4 pairs of "
            "images and all points at that distance [after @balduzzi2017, where the input has one dimension]. In plain networks gradients are said to turn into white noise with depth, at 0 for the nearest "
            "neighbours too. Means over runs."
        ),
    ),
    "loss-curve": Mechanism(
        title="Loss along a random direction",
        rows=(
            Row("loss (nats)", {TRAINED: "distance from the trained weights"}, tell_loss, logarithmic=True),
        ),
        method=(
            "The loss on 32 validation images along a random direction, one a seed, each of whose filters has the norm of "
            "the trained filter; scales, shifts and biases stay [@li2018, section 4]. Means over runs."
        ),
    ),
    "loss-contour": Mechanism(
        title="Loss over a plane of random directions",
        rows=(Row("loss (nats)", {TRAINED: "distance along one direction"}, tell_plane, logarithmic=True),),
        place=("position", "across"),
        seeds=1,
        shown="the first seed of each arm; contours join weights of equal loss in nats, the same in every panel; the cross "
        "marks the trained weights",
        method=(
            "The loss on 32 validation images over the plane through the trained weights along two random directions, "
            "each of whose filters has the norm of the trained filter; scales, shifts and biases stay; of the first "
            "seed of each arm [@li2018, section 4]. Deep networks without shortcuts are said to have a rugged loss, "
            "those with them a smooth one."
        ),
    ),
    "dropout-uncertainty": Mechanism(
        title="Uncertainty by dropping while testing",
        seeds=3,
        rows=(Row("error (%)", {UNCERTAINTY: "fifth of the images, by entropy"}, tell_uncertainty),),
        shown="n = {n} seeds an arm; thin lines are runs, thick lines their means, of the error in each fifth of up to 256 "
        "images, the first with the lowest entropy",
        lacking="the networks of these arms drop nothing, or none of their runs is finished",
        method=(
            "Class probabilities of validation images, the mean of 20 passes through the trained network that each drop "
            "other units, channels, weights or blocks, as while training, batch norm with its running averages "
            "[@gal2016]: does their entropy (nats) tell which images are classified wrongly? AUROC is the probability "
            "that a wrong image has the higher entropy of two: 0.5 is chance. Networks that drop nothing are left out. "
            "Mean over runs and their range."
        ),
    ),
    "gradient-through-training": Mechanism(
        title="Gradient through training",
        seeds=3,
        rows=(
            Row("norm of the gradient", dict.fromkeys((FIRST, LAST), "epoch"), tell_course, logarithmic=True),
            Row("$\\lambda$", {RATE: "epoch"}, tell_course),
        ),
        method=(
            "The norm of the gradient with respect to the outputs of the first and the last layer, and the rate "
            "$\\lambda$ over all layers, measured as the gradient by layer, at initialisation, after 1, 2, 4, ... epochs, "
            "and of the trained network [after @glorot2010, section 4.2]. Means over runs."
        ),
    ),
    "loss-along-gradient": Mechanism(
        title="Smoothness along the gradient",
        seeds=3,
        rows=(
            Row("range of the loss (nats)", {RANGE: "epoch"}, tell_course, logarithmic=True),
            Row("change of gradient / distance", {SMOOTHNESS: "epoch"}, tell_course, logarithmic=True),
        ),
        method=(
            "From the weights at initialisation, after 1, 2, 4, ... epochs, and after the last, steps of 0.05, 0.1 and "
            "0.2 times the gradient are taken down the gradient of the loss on 32 validation images, normalised as a "
            "batch. The variation of the loss is its range over these steps and the start; the smoothness is the largest "
            "change of the gradient over the distance moved, $\\max_\\eta\\lVert g(w) - g(w - \\eta g)\\rVert / "
            "\\lVert\\eta g\\rVert$, an estimate from below of the Lipschitz constant of the gradient "
            "[after @santurkar2018, who find both smaller with batch norm]. Infinite where numbers overflow. Means over "
            "runs."
        ),
    ),
    "activation-moments": Mechanism(
        title="Moments of activations",
        seeds=3,
        rows=(
            Row("mean", {MEAN.format(block): "epoch" for block in MOMENTS_OF}, tell_moments),
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
    ),
}
