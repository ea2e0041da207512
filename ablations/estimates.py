"""What the training jobs of a suite take: time, memory and disk, from their multiply-adds and from past runs on the
same kind of device. No torch, but to count networks that no table has counted yet.

Time. An arm with past runs takes as long as they did. For others, how long a step of some MACs takes is a straight line
in logarithms through the past runs at the same precision, a point an arm, fitted by least squares; its slope is kept
between 0 (every step takes as long) and 1 (every step has the same pace). Smaller steps than were seen take as long as
the smallest of them, larger ones have the pace of the largest: small networks wait for the machine, large ones compute,
so the line itself would promise too much on either side. Without past runs, `CAREFUL`.

Memory. A process takes `BASE_MB`, its images, `STORED` times the activations of its batches (what layers put out, norms
and ReLUs too, and gradients on their way) and `COPIES` of its parameters, four bytes each; all of it times the ratio of
past runs' peaks to that, the arm's own or the median. Densely connected networks take twice as much, as their past runs
tell. On a GPU activations and parameters are on the device, and the process has a base of its own.

Disk. The weights of a run, once for each snapshot that it keeps, and its tables. Checkpoints go when a run is finished.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import linear_regression, mean, median
from typing import Any

from ablations import gpus, layout
from ablations.config import Dataset, Recipe
from ablations.cost import Cost, count
from ablations.data import Header, read_header
from ablations.errors import UserError
from ablations.networks import family
from ablations.plan import Arm, Job, Plan
from ablations.resources import Estimate, read_costs
from ablations.store import Damaged, Store, snapshot_epochs

# Without past runs, by kind of device: seconds that a step takes at least, and MACs a second. A thread of a laptop,
# and a GPU of some years ago, at a third of what they can do.
CAREFUL = {"cpu": (0.01, 2e10), "cuda": (0.01, 1e12)}
STARTUP = {"cpu": 5.0, "cuda": 30.0}  # seconds of a job before its first run
BASE_MB = {"cpu": 750.0, "cuda": 4000.0}  # of a process that has imported torch; CUDA's libraries are large
STORED, COPIES = 4.0, 5.0
TABLES_MB = 0.05  # of a run: history, metrics, environment


# ------------------------------------------------------------------------------------------ what networks cost


class Costs:
    """Costs of arms by their id: from the tables of earlier counts, and counted where those lack them."""

    def __init__(self) -> None:
        self.known = read_costs()
        self.counted: dict[Any, Cost] = {}

    def of(self, arm: Arm, header: Header) -> Cost:
        """The cost of an arm's network for an image of these data."""
        if arm.id not in self.known:
            what = (arm.model, header.shape, header.classes)
            if what not in self.counted:
                print(f"counting {arm.name}", file=sys.stderr, flush=True)
                self.counted[what] = count(*what)
            self.known[arm.id] = self.counted[what]
        return self.known[arm.id]


# ------------------------------------------------------------------------------------------ past runs


@dataclass(frozen=True)
class Past:
    """A finished run: where and when it was trained, what a step of it cost and took, and its peak of memory beside
    what the model says."""

    arm: str
    kind: str  # of the device: cpu or cuda
    device: str
    precision: str
    when: float  # seconds since 1970
    macs: float  # of a step
    seconds: float  # of a step; of the device's, where several runs shared it
    peak_ratio: float


def past_runs(costs: Costs) -> Iterator[Past]:
    """The finished runs of the store whose network is counted and whose data are here. On processors, those of one
    thread, as the workflow's."""
    store, headers = Store(layout.RESULTS), {}
    for folder in sorted(store.folder.glob("*")):
        try:
            found = [store.file(folder.name, f"{name}.json") for name in ("config", "metrics", "environment")]
            if None in found:
                continue
            config, metrics, where = map(json.loads, found)
            arm = arm_of(config)
        except (Damaged, ValueError, KeyError):  # damaged, or older than today's vocabulary
            continue
        header = headers.setdefault(arm.data_key, read_header(layout.data(arm.data_key)))
        kind = where["device_type"]
        if (
            header is None
            or header.fingerprint != config["data"]
            or arm.id not in costs.known
            or (kind == "cpu" and where["threads"] != 1)
        ):
            continue
        cost, at_once = costs.known[arm.id], where["at_once"]
        batch = arm.recipe.batch_size
        steps = metrics["epochs_trained"] * (header.sizes["train"] // batch)
        yield Past(
            arm=arm.id,
            kind=kind,
            device=where["device"],
            precision=arm.recipe.precision,
            when=(folder / "metrics.json").stat().st_mtime,
            macs=step_macs(cost, batch),
            seconds=metrics["seconds"] / steps / at_once,
            peak_ratio=metrics["peak_memory_mb"] / watched_mb(kind, cost, batch, header, at_once),
        )


def arm_of(config: dict[str, Any]) -> Arm:
    """The arm of a run from what is written down with it. ValueError where it does not fit today's vocabulary."""
    data = dict(config["dataset"])
    name = data.pop("name")
    model = family(config["model"]).model_validate(config["model"])
    return Arm(model, Recipe.model_validate(config["recipe"]), Dataset.model_validate(data), name)


# ------------------------------------------------------------------------------------------ the model


@dataclass(frozen=True)
class Pace:
    """Seconds of a training step by its MACs: a line in logarithms through a point, between two ends."""

    slope: float
    macs: float
    seconds: float
    least: float
    most: float

    def __call__(self, macs: float) -> float:
        seen = min(max(macs, self.least), self.most)
        return self.seconds * (seen / self.macs) ** self.slope * max(1.0, macs / self.most)


def careful_pace(kind: str) -> Pace:
    """The pace on a kind of device without past runs."""
    seconds, pace = CAREFUL[kind]
    return Pace(0.0, seconds * pace, seconds, seconds * pace, seconds * pace)


def fitted(points: list[tuple[float, float]]) -> Pace:
    """The pace through (MACs, seconds) of steps."""
    x, y = ([math.log(each) for each in side] for side in zip(*points, strict=True))
    slope = linear_regression(x, y).slope if len(set(x)) > 1 else 0.0
    ends = min(macs for macs, _ in points), max(macs for macs, _ in points)
    return Pace(min(max(slope, 0.0), 1.0), math.exp(mean(x)), math.exp(mean(y)), *ends)


def step_macs(cost: Cost, batch: int) -> float:
    """MACs of a training step: backward takes twice what forward takes."""
    return 3.0 * cost.macs * batch


def tensors_mb(cost: Cost, batch: int) -> float:
    """Activations of a batch and copies of the parameters, in MB."""
    return 4e-6 * (STORED * cost.activations * batch + COPIES * cost.parameters)


def images_mb(header: Header) -> float:
    """The images of a prepared file, a byte a value, in MB."""
    return 1e-6 * sum(header.sizes.values()) * math.prod(header.shape)


def watched_mb(kind: str, cost: Cost, batch: int, header: Header, at_once: int) -> float:
    """What a run's peak is of: on a GPU the tensors there, else the whole process."""
    base = 0.0 if kind == "cuda" else BASE_MB[kind]
    return base + images_mb(header) + at_once * tensors_mb(cost, batch)


@dataclass(frozen=True)
class Device:
    """A kind of device with the past runs on it. `device` is its name; None without past runs."""

    kind: str
    device: str | None = None
    past: tuple[Past, ...] = ()

    @cached_property
    def arms(self) -> dict[str, Past]:
        """The past runs of each arm, by its id, as one: medians."""
        grouped: dict[str, list[Past]] = {}
        for run in self.past:
            grouped.setdefault(run.arm, []).append(run)
        return {
            arm: replace(
                runs[0],
                seconds=median(run.seconds for run in runs),
                peak_ratio=median(run.peak_ratio for run in runs),
            )
            for arm, runs in grouped.items()
        }

    def seconds(self, arm: str, precision: str, macs: float) -> float:
        """Of a step of some MACs: as in the arm's own past runs, or by the pace of the others at its precision."""
        return self.arms[arm].seconds if arm in self.arms else self.pace(precision)(macs)

    def pace(self, precision: str, without: str = "") -> Pace:
        """The pace at a precision, if need be without one arm."""
        points = [
            (past.macs, past.seconds)
            for arm, past in self.arms.items()
            if past.precision == precision and arm != without
        ]
        return fitted(points) if points else careful_pace(self.kind)

    def peak_ratio(self, arm: str) -> float:
        """How the peak of memory compares with the model: in the arm's own past runs, or in all of them."""
        return self.arms[arm].peak_ratio if arm in self.arms else self.usual_ratio()

    def usual_ratio(self, without: str = "") -> float:
        """The median of the ratios, if need be without one arm."""
        return median([past.peak_ratio for arm, past in self.arms.items() if arm != without] or [1.0])

    @property
    def errors(self) -> tuple[float, float] | None:
        """How far the estimates of time and memory are off for an arm that they have not seen, in percent: medians
        over the arms of the past runs, each left out once; None for fewer than two."""
        if len(self.arms) < 2:
            return None
        time = [
            abs(self.pace(past.precision, without=arm)(past.macs) / past.seconds - 1)
            for arm, past in self.arms.items()
        ]
        memory = [abs(self.usual_ratio(without=arm) / past.peak_ratio - 1) for arm, past in self.arms.items()]
        return 100 * median(time), 100 * median(memory)

    def __str__(self) -> str:
        if self.device is None:
            where = {"cpu": "a processor", "cuda": "a GPU"}[self.kind]
            seconds, pace = CAREFUL[self.kind]
            return f"careful values for {where}, without past runs: {pace:.0e} MACs/s, {1000 * seconds:.0f} ms a step"
        told = f"{counted(len(self.past), 'past run')} of {counted(len(self.arms), 'arm')} on {self.device}"
        if self.errors:
            told += "; an arm left out is predicted with a median error of {:.0f} % (time) and {:.0f} % (memory)".format(
                *self.errors
            )
        return told


def counted(number: int, what: str) -> str:
    """`1 arm`, `2 arms`."""
    return f"{number} {what}{'s' * (number != 1)}"


def device(past: Iterable[Past], kind: str = "auto") -> Device:
    """The device of the newest past run, of a kind if one is named; without any, the kind that this machine has."""
    runs = [run for run in past if kind in ("auto", run.kind)]
    if not runs:
        here = "cuda" if gpus.visible() else "cpu"
        return Device(here if kind == "auto" else kind)
    newest = max(runs, key=lambda run: run.when)
    same = (run for run in runs if (run.kind, run.device) == (newest.kind, newest.device))
    return Device(newest.kind, newest.device, tuple(same))


# ------------------------------------------------------------------------------------------ estimates


def estimate(job: Job, cost: Cost, header: Header, on: Device) -> Estimate:
    """What a job takes on a device."""
    arm, recipe, gpu = job.arm, job.arm.recipe, on.kind == "cuda"
    steps = recipe.epochs * (header.sizes["train"] // recipe.batch_size)
    at_once = len(job.seeds) if gpu else 1
    watched = on.peak_ratio(arm.id) * watched_mb(on.kind, cost, recipe.batch_size, header, at_once)
    files = 1 + len(snapshot_epochs(recipe.epochs)) * job.snapshots
    return Estimate(
        job=job.name,
        network=arm.name,
        runs=len(job.seeds),
        startup=STARTUP[on.kind],
        seconds=steps * on.seconds(arm.id, recipe.precision, step_macs(cost, recipe.batch_size)),
        memory_mb=BASE_MB["cuda"] + images_mb(header) if gpu else watched,
        gpu_memory_mb=watched if gpu else None,
        disk_mb=files * 4e-6 * cost.parameters + TABLES_MB,
        device=on.device or f"{on.kind} (careful values)",
        cost=cost,
    )


def estimates(plan: Plan, jobs: Iterable[Job], kind: str = "auto") -> tuple[dict[str, Estimate], Device]:
    """The estimate of each job by its name, and the device that they are for. UserError where data are not prepared."""
    costs, headers, counted = Costs(), {}, []
    for job in jobs:
        path = layout.data(job.arm.data_key)
        header = headers.setdefault(path, read_header(path))
        if header is None:
            raise UserError(
                f"{path}: not there yet, and estimates need its size; make it with: ablations prepare --suite "
                f"{plan.suite_name}"
            )
        counted.append((job, costs.of(job.arm, header), header))
    on = device(past_runs(costs), kind)
    return {job.name: estimate(job, cost, header, on) for job, cost, header in counted}, on


def guess(job: Job, kind: str, header: Header | None) -> Estimate:
    """What a job may take on a kind of device, when nothing is counted or measured and the data may not be there
    (`header` is None): what a residual network of its depth, or of 20 layers, would, with the widths of He et al.
    2015, section 4.2: 2,000 MACs and 9 activations a layer and pixel, 14,000 parameters a layer."""
    header = header or presumed(job.arm.dataset)
    layers, pixels = getattr(job.arm.model, "depth", None) or 20, math.prod(header.shape[1:])
    cost = Cost(2000 * layers * pixels, 0, 14_000 * layers, 9 * layers * pixels)
    return estimate(job, cost, header, Device(kind))


def presumed(dataset: Dataset) -> Header:
    """What a file of this data set will say of itself, as far as its definition tells: as large as CIFAR-10 where it
    comes from elsewhere."""
    digits = dataset.source == "digits"
    images = {"train": dataset.train or (1797 if digits else 50_000), "validation": dataset.validation}
    return Header("", {**images, "test": dataset.test or 10_000}, (1, 8, 8) if digits else (3, 32, 32), 10)
