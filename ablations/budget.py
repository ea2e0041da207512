"""What is about to be trained, against the budget of its suite. No torch: Snakemake asks before its first job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations import layout, resources
from ablations.config import Budget
from ablations.data import Header, read_header
from ablations.errors import UserError
from ablations.estimates import guess
from ablations.plan import Arm, Job, Plan, Run
from ablations.progress import duration
from ablations.store import SUMS, Damaged, Store


@dataclass(frozen=True)
class Planned:
    """Runs to come, what they take, and where that is known from."""

    runs: int
    hours: float  # one after another
    disk_gb: float
    source: str

    def __str__(self) -> str:
        time = f"{self.hours:,.0f} hours" if self.hours >= 100 else duration(3600 * self.hours)
        return (
            f"{self.runs:,} run{'s' * (self.runs != 1)} to train, about {time} one after another, {size(self.disk_gb)} on "
            f"disk ({self.source})"
        )

    def beyond(self, budget: Budget) -> list[str]:
        """What of it is more than a budget gives, in words."""
        found = []
        if self.runs > budget.runs:
            found.append(f"{budget.runs:,} runs")
        if self.hours > budget.hours:
            found.append(f"{budget.hours:,g} hours")
        if self.disk_gb > budget.disk_gb:
            found.append(f"{budget.disk_gb:,g} GB")
        return found


def planned(
    plan: Plan, arms: Iterable[tuple[Arm, Iterable[int]]], kind: str, trials: Iterable[tuple[Arm, int]] = ()
) -> Planned:
    """What the store lacks of the runs of some arms with their seeds, and runs of arms with other settings, as many as
    given, which a search has yet to choose. By the suite's estimates; where it has none of an arm, by a guess for a
    kind of device, cpu or cuda."""
    written = {job.rpartition("-")[0]: each for job, each in resources.read(plan.suite_name).items()}
    headers = Headers()
    kept = plan.through_training
    work = [(arm, left(arm, seeds, headers[arm.data_key], arm.id in kept)) for arm, seeds in arms]
    runs, seconds, disk_mb, sources = 0, 0.0, 0.0, {}
    for arm, count in (*work, *trials):
        if not count:
            continue
        each = written.get(arm.id)
        if each is None:
            job = Job(arm, 0, (0,), arm.id in kept)
            each = guess(job, kind, headers[arm.data_key])
            sources["a guess; closer: ablations plan --resources"] = None
        else:
            sources[f"estimated for {each.device}"] = None
        runs += count
        seconds += each.startup + count * each.seconds
        disk_mb += count * each.disk_mb
    return Planned(runs, seconds / 3600, disk_mb / 1000, ", ".join(sources) or "all are there")


class Headers(dict[str, Header | None]):
    """Headers of prepared files by data key, each read once; None where there is no such file yet."""

    def __missing__(self, key: str) -> Header | None:
        self[key] = read_header(layout.data(key))
        return self[key]


def left(arm: Arm, seeds: Iterable[int], header: Header | None, snapshots: bool) -> int:
    """How many of an arm's runs are to be trained, or trained again for the snapshots that they are to keep. Without
    these the store is asked for names only: there may be many."""
    if header is None:
        return len(list(seeds))
    store = Store(layout.RESULTS)
    runs = [Run(arm, seed, header.fingerprint) for seed in seeds]
    if snapshots:
        return sum(finished(store, run, snapshots) is None for run in runs)
    return sum(not (store.path(run) / SUMS).is_file() for run in runs)


def finished(store: Store, run: Run, snapshots: bool) -> dict[str, Any] | None:
    """What a run measured; None where it is to be trained: it is not there, or damaged, or lacks its snapshots."""
    try:
        metrics = store.metrics(run)
        lacks = metrics and snapshots and store.lacks_snapshots(run, metrics)
    except Damaged:
        return None
    return None if lacks else metrics


def check(plan: Plan, planned: Planned, budget: Budget, yes: str) -> None:
    """UserError with the estimate where a plan is beyond a budget; `yes` is what the user types to go on all the same."""
    if beyond := planned.beyond(budget):
        raise UserError(
            f"suite {plan.suite_name}: {planned}. That is more than the budget of {' and '.join(beyond)}; nothing was "
            f"started. Go on with {yes}, or give a larger `budget` in "
            f"{shown(plan.library.path('suites', plan.suite_name))}"
        )


def shown(path: Path) -> str:
    """A path as short as it can be told from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def size(gb: float) -> str:
    """`12 MB`, `3.4 GB`."""
    return f"{1000 * gb:.0f} MB" if gb < 1 else f"{gb:,.1f} GB"
