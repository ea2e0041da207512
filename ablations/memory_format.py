"""Which memory format is faster for which network: a short timing of both. The choice is written into a study's or
suite's recipe (`memory_format`), since it changes rounding and so belongs to a run's identity."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ablations.plan import Arm, Run
from ablations.training.engine import LAYOUTS, course, denormals_as_zero
from ablations.training.evaluation import Splits
from ablations.training.lane import Lane
from ablations.training.replay import WARM_UP

FORMATS = tuple(LAYOUTS)
NOT_COUNTED = WARM_UP + 1  # steps; on a GPU the last of them captures


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a training step of a network, the median of several, in both memory formats."""

    network: str
    arm: str  # its id
    batch_size: int
    precision: str
    channels_last: float
    contiguous: float

    @property
    def faster(self) -> str:
        """The format whose step is shorter."""
        return min(FORMATS, key=lambda name: getattr(self, name))

    def __str__(self) -> str:
        gain = max(self.channels_last, self.contiguous) / min(self.channels_last, self.contiguous)
        return (
            f"{self.network:<20} batch {self.batch_size:<4} {self.precision}  channels_last {self.channels_last:8.2f} ms  "
            f"contiguous {self.contiguous:8.2f} ms  {self.faster} is {gain:.2f} times as fast"
        )


def measure(
    arms: list[Arm], splits: dict[str, Splits], steps: int, tell: Callable[[Timing], None]
) -> list[Timing]:
    """The steps of each arm's network timed in both formats in turn, `steps` times; `splits` by data key."""
    timings = []
    for arm in arms:
        milliseconds = dict(zip(FORMATS, in_turn(arm, splits[arm.data_key], steps), strict=True))
        recipe = arm.recipe
        timings.append(Timing(arm.name, arm.id, recipe.batch_size, recipe.precision, **milliseconds))
        tell(timings[-1])
    return timings


def in_turn(arm: Arm, splits: Splits, steps: int) -> list[float]:
    """Median milliseconds of a step in each format. More epochs than planned, so that there are enough steps; at a
    rate at which none diverges."""
    changes = {"epochs": NOT_COUNTED + steps, "learning_rate": 1e-9, "patience": None}
    courses = []
    for name in FORMATS:
        recipe = arm.recipe.model_copy(update={**changes, "memory_format": name})
        same = Arm(arm.model, recipe, arm.dataset, arm.dataset_name)
        courses.append(course(Run(same, 0, splits.data.fingerprint), splits, lambda row: None))
    lanes = [Lane(splits.device) for _ in FORMATS]
    taken: list[list[float]] = [[], []]
    with denormals_as_zero():
        for _ in range(NOT_COUNTED + steps):
            for each, lane, times in zip(courses, lanes, taken, strict=True):
                started = time.perf_counter()
                with lane:
                    next(each)
                if splits.device.type == "cuda":
                    torch.cuda.synchronize(splits.device)
                times.append(1000 * (time.perf_counter() - started))
    return [statistics.median(times[NOT_COUNTED:]) for times in taken]
