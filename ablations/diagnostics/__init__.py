"""Mechanisms, measured on networks at initialisation and on the trained networks of the store: a probe each.

A probe maps a network, a fixed batch of images [n, c, h, w] with labels [n] and a generator to points: where a value
was taken, and the value; or, as a measure through training, to a value a panel, the epoch being the place. A probe may
change its network, a measure the weights of its.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor, nn

from ablations import data, layout
from ablations.diagnostics.landscape import (
    gradient_correlation,
    loss_along_gradient,
    loss_contour,
    loss_curve,
)
from ablations.diagnostics.lesions import delete_one, delete_several, path_lengths, swap_neighbours
from ablations.diagnostics.signals import (
    Points,
    activation_moments,
    branch_variance,
    gradient_by_layer,
    gradients_now,
    largest_gains,
    response_magnitude,
)
from ablations.diagnostics.uncertainty import dropout_uncertainty
from ablations.errors import UserError
from ablations.files import write_text
from ablations.mechanisms import (
    ANY,
    DELETED,
    INITIAL,
    JACOBIANS_INITIAL,
    JACOBIANS_TRAINED,
    MECHANISMS,
    SEVERAL,
    SWAPPED,
    TRAINED,
)
from ablations.plan import Arm, Plan, PlannedStudy, Run
from ablations.store import WEIGHTS, Store, snapshot
from ablations.training.engine import begin, denormals_as_zero
from ablations.training.evaluation import Splits
from ablations.training.streams import stream

DIGITS = "%.5g"  # five significant ones: of places, 1/32 and its multiples are exact
BATCH = 256  # images: the first of the validation split

Probe = Callable[[nn.Sequential, Tensor, Tensor, torch.Generator], Points]
Measure = Callable[[nn.Sequential, Tensor, Tensor, torch.Generator], dict[str, float]]

# By diagnostic and panel, as in `ablations.mechanisms.MECHANISMS`. Panels of the same weights are given one network:
# probes of several such panels leave weights as they are, and no hooks.
PROBES: dict[str, dict[str, Probe]] = {
    "gradient-by-layer": {
        INITIAL: gradient_by_layer,
        TRAINED: gradient_by_layer,
        JACOBIANS_INITIAL: largest_gains,
        JACOBIANS_TRAINED: largest_gains,
    },
    "response-magnitude": {INITIAL: response_magnitude, TRAINED: response_magnitude},
    "branch-variance": {INITIAL: branch_variance},
    "lesions": {DELETED: delete_one, SEVERAL: delete_several, SWAPPED: swap_neighbours},
    "path-lengths": {ANY: path_lengths},
    "gradient-correlation": {INITIAL: gradient_correlation, TRAINED: gradient_correlation},
    "loss-curve": {TRAINED: loss_curve},
    "loss-contour": {TRAINED: loss_contour},
    "dropout-uncertainty": {TRAINED: dropout_uncertainty},
}
AT_INITIALISATION = (ANY, INITIAL, JACOBIANS_INITIAL)  # panels of networks before their first step
# Through training: at each epoch whose weights there are, a number a panel.
MEASURES: dict[str, Measure] = {
    "gradient-through-training": gradients_now,
    "loss-along-gradient": loss_along_gradient,
    "activation-moments": activation_moments,
}


def diagnose(plan: Plan, name: str) -> None:
    """Write results/<suite>/<study>/diagnostics/<diagnostic>.csv for each diagnostic that a study names, as
    `ablations.mechanisms` describes it. Runs that are not finished are left out, as are those whose weights are not
    here, and diagnostics of arms that the suite does not have. UserError where the study names none."""
    planned, store = plan.study(name), Store(layout.RESULTS)
    if not planned.study.diagnostics:
        raise UserError(f"study {name} names no diagnostics")
    paths = {each: layout.diagnostic(plan.suite_name, name, each) for each in planned.study.diagnostics}
    splits: dict[str, Splits] = {}
    elsewhere: dict[str, Run] = {}
    for diagnostic, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            arms = planned.select(planned.study.diagnostics[diagnostic].arms)
        except UserError as error:  # the report says it too
            print(f"{diagnostic}: not measured: {error}")
            continue
        with denormals_as_zero():
            rows = list(measured(planned, arms, diagnostic, store, splits, elsewhere))
        columns = [*planned.factors, "seed", "status", "panel", *MECHANISMS[diagnostic].place, "value"]
        write_text(path, pd.DataFrame(rows, columns=columns).to_csv(index=False, float_format=DIGITS))
    if elsewhere:
        print(
            "These runs are here without their weights, and not measured as trained. Import an archive that was made by "
            "`ablations export --weights`, or delete their folders and train the study again:"
        )
        for run in elsewhere.values():
            print(f"  {run.arm.name} seed {run.seed}: {store.path(run)}", flush=True)


def measured(
    planned: PlannedStudy,
    arms: Mapping[tuple[str, ...], Arm],
    diagnostic: str,
    store: Store,
    splits: dict[str, Splits],
    elsewhere: dict[str, Run],
) -> Iterator[dict[str, Any]]:
    """The rows of a diagnostic's table. `splits` keeps the data that were read, by their key, `elsewhere` the runs whose
    weights it takes and which are not here, by their id."""
    mechanism = MECHANISMS[diagnostic]
    takes_weights = diagnostic in MEASURES or not set(PROBES[diagnostic]) <= set(AT_INITIALISATION)
    for key, arm in arms.items():
        if arm.data_key not in splits:
            splits[arm.data_key] = Splits.of(data.read(layout.data(arm.data_key)), torch.device("cpu"))
        ready = splits[arm.data_key]
        for seed in planned.seeds[: mechanism.seeds]:
            run = Run(arm, seed, ready.data.fingerprint)
            if takes_weights and store.left_out(run.id):
                elsewhere[run.id] = run
            rows = through_training if diagnostic in MEASURES else at_both_ends
            for row in rows(run, diagnostic, store, ready):
                *place, value = row.pop("point", [math.nan] * (len(mechanism.place) + 1))
                told = dict(zip(mechanism.place, place, strict=True))
                yield {**planned.levels(key), "seed": seed, **row, **told, "value": value}


def at_both_ends(run: Run, diagnostic: str, store: Store, splits: Splits) -> Iterator[dict[str, Any]]:
    """Points of a run by status and panel, at initialisation and as trained; a panel without point where the run has
    diverged, no panel where it is not finished, or its weights are not here."""
    metrics = store.metrics(run)
    if metrics is not None and metrics["status"] == "finished" and store.left_out(run.id):
        metrics = None
    nets: dict[bool, nn.Sequential] = {}  # panels of the same weights share a network
    for panel, probe in PROBES[diagnostic].items():
        initial = panel in AT_INITIALISATION
        status = "initial" if initial else metrics and metrics["status"]
        if status == "diverged":
            yield {"status": status, "panel": panel}
        elif status is not None:
            if initial not in nets:
                nets[initial] = network(run, splits, None if initial else store.file(run.id, WEIGHTS))
            for point in probe(nets[initial], *batch(splits), stream(run.seed, "diagnostics")):
                yield {"status": status, "panel": panel, "point": point}


def through_training(run: Run, diagnostic: str, store: Store, splits: Splits) -> Iterator[dict[str, Any]]:
    """Points (epoch, value) of a run by status and panel: at initialisation, and if it is finished, at its snapshots
    and with its last weights. A panel without point at the end where the run has diverged."""
    metrics = store.metrics(run)
    weights: dict[int, bytes | None] = {0: None}
    if metrics is not None and not store.left_out(run.id):
        if store.lacks_snapshots(run, metrics):
            print(f"{diagnostic}: {run.arm.name} seed {run.seed} has no snapshots: train its study again")
        weights |= {epoch: store.file(run.id, snapshot(epoch)) for epoch in store.snapshots(run.id)}
        if metrics["status"] == "finished":
            weights[metrics["measured_epoch"]] = store.file(run.id, WEIGHTS)
    net, images_and_labels = network(run, splits, None), batch(splits)
    for epoch in sorted(weights):
        if weights[epoch] is not None:
            net.load_state_dict(safetensors.torch.load(weights[epoch]))
        values = MEASURES[diagnostic](net, *images_and_labels, stream(run.seed, "diagnostics"))
        for panel, value in values.items():
            status = metrics["status"] if epoch else "initial"
            yield {"status": status, "panel": panel, "point": (epoch, value)}
    if metrics is not None and metrics["status"] == "diverged":
        for panel in MECHANISMS[diagnostic].panels:
            yield {"status": "diverged", "panel": panel}


def network(run: Run, splits: Splits, weights: bytes | None) -> nn.Sequential:
    """The network of a run with the content of a file of weights, or as its first step finds it."""
    net = begin(run, splits).net
    if weights is not None:
        net.load_state_dict(safetensors.torch.load(weights))
    return net


def batch(splits: Splits) -> tuple[Tensor, Tensor]:
    """The images [n, c, h, w], normalised, and labels [n] that every probe sees."""
    first = splits.validation.first(BATCH)
    return first.images(slice(BATCH)), first.labels
