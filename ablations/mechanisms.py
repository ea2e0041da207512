"""What diagnostics measure, and what their tables say: titles, axes, sentences with numbers. No torch.

A table of a diagnostic has a row a point: the levels of the arm, `seed`, `status` of the run, `panel`, `position`
along the panel's axis and `value`; a trained network that diverged has one row a panel, without position and value.
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


@dataclass(frozen=True)
class Mechanism:
    """What a diagnostic shows: `value` names the vertical axis, `panels` the horizontal one of each panel; `tell`
    turns the points of an arm in a panel into words."""

    title: str
    value: str
    panels: dict[str, str]
    method: str  # Markdown: what is measured, and its source
    tell: Callable[[pd.DataFrame], str]
    logarithmic: bool = False


def read_diagnostic(suite: str, planned: PlannedStudy, name: str) -> pd.DataFrame | None:
    """The table of a diagnostic; None where it is not there."""
    path = layout.diagnostic(suite, planned.name, name)
    return read_table(path, dtype=dict.fromkeys(planned.factors, str)) if path.is_file() else None


def paragraph(planned: PlannedStudy, name: str, table: pd.DataFrame) -> str:
    """What was measured, and the numbers found: means over seeds, by panel and level of the colour's factor."""
    mechanism, asked = MECHANISMS[name], planned.study.diagnostics[name]
    found = []
    for panel in mechanism.panels:
        of_panel = table[table["panel"] == panel]
        told = []
        for level in (each.label for each in planned.factors[asked.colour].levels):
            points = of_panel[of_panel[asked.colour] == level]
            if points["value"].notna().any():
                told.append(f"*{level}* {mechanism.tell(points.dropna(subset='value'))}")
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


def of_blocks(points: pd.DataFrame) -> str:
    """The mean over blocks, and those of the first and the last."""
    means = points.groupby("position")["value"].mean()
    return f"{number(means.mean())} on average, {number(means.iloc[0])} in block {means.index[0]:g}, {number(means.iloc[-1])} in block {means.index[-1]:g}"


MECHANISMS = {
    "gradient-by-layer": Mechanism(
        title="Gradient by layer",
        value="norm of the gradient",
        panels=dict.fromkeys((INITIAL, TRAINED), "layer"),
        method=(
            "The Euclidean norm of the gradient of the loss with respect to the output of each layer, on 64 "
            "validation images, normalised as a batch, nothing dropped [after @glorot2010, section 4.2]. Of "
            "$\\lVert\\partial\\mathcal{L}/\\partial\\mathbf{x}_l\\rVert = C\\lambda^{L-l}$ the rate $\\lambda$ is fitted by "
            "least squares to the logarithms: below 1 gradients vanish on the way back to the first layer, above 1 "
            "they explode; undefined where gradients are zero. Mean over runs and their range."
        ),
        tell=tell_gradients,
        logarithmic=True,
    ),
    "response-magnitude": Mechanism(
        title="Response of each block",
        value="standard deviation",
        panels=dict.fromkeys((INITIAL, TRAINED), "block"),
        method=(
            "The standard deviation of the output of each block's transform, before the addition (in a plain network "
            "before the ReLU), over up to 256 validation images, normalised as a batch [@he2015, section 4.2 and Fig. "
            "7, there of each layer]: where it is small, a residual block changes its input little. Means over runs."
        ),
        tell=of_blocks,
    ),
    "branch-variance": Mechanism(
        title="Blocks near the identity",
        value="variance ratio",
        panels={INITIAL: "block"},
        method=(
            "The variance of what each block's transform adds, over the variance of what it is added to (over images "
            "and pixels, mean over channels). With batch norm on the transform its variance stays 1 while that of the "
            "shortcut grows by 1 a block, so that deep blocks start near the identity, with a ratio of about 1 in block "
            "number, counted from the last block whose shortcut was normalised too; without a norm both grow together "
            "[@de2020]. Means over runs."
        ),
        tell=of_blocks,
        logarithmic=True,
    ),
    "lesions": Mechanism(
        title="Lesions",
        value="validation error (%)",
        panels={DELETED: "block (0: none)", SEVERAL: "blocks deleted", SWAPPED: "block (0: none)"},
        method=(
            "The error of trained networks on validation images after lesions, without any further training "
            "[@veit2016, sections 4.1 to 4.3]: a block deleted, blocks deleted one after another in a random order, "
            "and a block swapped with the next. A deleted block leaves its shortcut; in a plain network, its input. A "
            "plain network's blocks that change the shape are not deleted, since nothing else would make their input "
            "fit the next block; only neighbours of equal shape are swapped. Means over runs."
        ),
        tell=tell_lesions,
    ),
    "path-lengths": Mechanism(
        title="Lengths of paths",
        value="paths (%)",
        panels={ANY: "transforms on the path"},
        method=(
            "A residual network of $n$ blocks is a sum over $2^n$ paths, for each block goes by the shortcut or by the "
            "transform; their lengths are binomial, of $n$ and 1/2; a plain network has one path "
            "[@veit2016, sections 3 and 5]. Mean length and standard deviation."
        ),
        tell=tell_lengths,
    ),
    "gradient-correlation": Mechanism(
        title="Shattered gradients",
        value="cosine of the gradients' angle",
        panels=dict.fromkeys((INITIAL, TRAINED), "part of the way between two images"),
        method=(
            "The cosine of the angle between the gradients of the first logit with respect to the input, at two points "
            "on the straight line from one validation image to another, by their distance; the mean over 4 pairs of "
            "images and all points at that distance [after @balduzzi2017, section 2, where the input has one "
            "dimension]. In plain networks gradients are said to turn into white noise with depth, at 0 for the nearest "
            "neighbours too. Means over runs."
        ),
        tell=tell_correlation,
    ),
    "loss-curve": Mechanism(
        title="Loss along a random direction",
        value="loss (nats)",
        panels={TRAINED: "distance from the trained weights"},
        method=(
            "The loss on validation images along a random direction, one a seed, each of whose filters has the norm of "
            "the trained filter; scales, shifts and biases stay [@li2018, section 4]. Means over runs."
        ),
        tell=tell_loss,
        logarithmic=True,
    ),
}
