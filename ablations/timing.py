"""Where a suite's wall time went: training, the start-up of training jobs, mechanisms, tables and report, scheduling. From the
benchmark files of Snakemake and the runs' own clocks.

A job counts where it ran last, for it has one benchmark file, and one that failed does not count, for it has none.
The files' times tell when a job ended: `snakemake --touch`, or copying without them, loses that. No torch, no pandas."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from ablations import layout
from ablations.errors import UserError
from ablations.files import write_text
from ablations.plan import Plan
from ablations.progress import duration
from ablations.store import Store, table

DIAGNOSE = "diagnose"  # the rule that measures the mechanisms of a study

# Start and end, in seconds since 1970.
Span = tuple[float, float]

# Seconds without any job after which the next one belongs to another invocation of Snakemake.
PAUSE = 30.0

ROW = "| {:<23} | {:>12} | {:>7} | {:>5} | {:>5} |"


@dataclass(frozen=True)
class TimedJob:
    """A job of Snakemake that has ended."""

    name: str
    span: Span
    threads: int = 1
    trained: tuple[Span, ...] | None = None  # when each of its runs was trained; None for jobs of other rules

    @property
    def seconds(self) -> float:
        """Its wall time."""
        return length([self.span])

    @property
    def rule(self) -> str:
        """The rule of Snakemake that it is of."""
        return self.name.split()[0]

    @property
    def training(self) -> float:
        """Seconds in which it trained at least one run."""
        return length(merged(self.trained))


def timing(plan: Plan, cores: int | None = None) -> str:
    """Write results/<suite>/timing.csv and return the same for a terminal. `cores` is what Snakemake was given; by
    default the most that jobs took at a time. UserError where there is nothing to read, or for too few cores."""
    jobs = [*training_jobs(plan), *other_jobs(plan)]
    if not jobs:
        raise UserError(
            f"suite {plan.suite_name}: no benchmark files yet; they are made by: snakemake --cores all --config "
            f"suite={plan.suite_name}"
        )
    most = most_cores(jobs)
    cores = most if cores is None else cores
    if cores < most:
        raise UserError(f"--cores: found {cores}; {most} were in use at a time, give {most} or more")
    parts = split(jobs, cores)
    write_text(layout.timing(plan.suite_name), table(parts))
    told = "\n".join([remarks(jobs), *mechanisms(plan, jobs)])
    return f"{heading(plan.suite_name, jobs, cores)}\n\n{aligned(parts)}\n\n{told}"


# ------------------------------------------------------------------------------------------ reading


def training_jobs(plan: Plan) -> Iterator[TimedJob]:
    """The training jobs that have run. UserError where what they made is gone."""
    for name, job in plan.jobs.items():
        span = read_span(layout.benchmarks(plan.suite_name) / "train" / f"{name}.tsv")
        if span is not None:
            rows = read_arm_table(layout.arm_table(plan.suite_name, name))
            threads = max(int(row["threads"]) for row in rows)
            yield TimedJob(f"train {job.arm.name} {name}", span, threads, trained(rows, span))


def other_jobs(plan: Plan) -> Iterator[TimedJob]:
    """The jobs of all other rules that have run."""
    files = [layout.data_benchmark(key) for key in plan.datasets]
    files += sorted(layout.benchmarks(plan.suite_name).glob("*/*.tsv"))
    for path in files:
        rule = path.parent.name
        if rule != "train" and (span := read_span(path)) is not None:
            yield TimedJob(f"{rule} {path.stem}", span)


def read_span(path: Path) -> Span | None:
    """When a job ran: its benchmark file tells its wall time `s` in seconds and is written as the job ends. None
    where there is no such file, UserError where it is damaged."""
    try:
        with path.open(newline="") as file:
            seconds = float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except FileNotFoundError:
        return None
    except (StopIteration, KeyError, ValueError):
        raise UserError(f"{path}: damaged; delete it to leave its job out") from None
    end = path.stat().st_mtime
    return end - seconds, end


def read_arm_table(path: Path) -> list[dict[str, str]]:
    """The rows that a training job made, one a run. UserError where they are missing."""
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; `snakemake` makes it anew") from None


def trained(rows: list[dict[str, str]], job: Span) -> tuple[Span, ...]:
    """When a job trained the runs of its table, cached ones left out: those stored before it began. What a resumed
    run took in earlier jobs is left out, too. UserError where a run is missing."""
    start, end = job
    spans = []
    for row in rows:
        metrics = Store(layout.RESULTS).folder / row["run"] / "metrics.json"
        try:
            stored = metrics.stat().st_mtime
        except FileNotFoundError:
            raise UserError(f"{metrics}: missing; its run is to be trained anew") from None
        if start <= stored <= end:
            spans.append((max(start, stored - float(row["seconds"])), stored))
    return tuple(spans)


# ------------------------------------------------------------------------------------------ counting


def merged(spans: Iterable[Span], gap: float = 0.0) -> list[Span]:
    """Spans in order, those as one that overlap or lie at most `gap` seconds apart."""
    whole: list[Span] = []
    for start, end in sorted(spans):
        if whole and start - whole[-1][1] <= gap:
            whole[-1] = (whole[-1][0], max(whole[-1][1], end))
        else:
            whole.append((start, end))
    return whole


def length(spans: Iterable[Span]) -> float:
    """Seconds of spans that do not overlap."""
    return sum(end - start for start, end in spans)


def invocations(jobs: list[TimedJob]) -> list[Span]:
    """When Snakemake was at work, from the start of a first job to the end of a last one: without its own start-up."""
    return merged((job.span for job in jobs), PAUSE)


def most_cores(jobs: list[TimedJob]) -> int:
    """The most cores that jobs took at a time."""
    starts = [(job.span[0], job.threads) for job in jobs]
    ends = [(job.span[1], -job.threads) for job in jobs]  # sorted before the starts of the same moment
    return max(itertools.accumulate(change for _, change in sorted(starts + ends)))


def split(jobs: list[TimedJob], cores: int) -> list[dict[str, Any]]:
    """A row a part, and one for the whole: seconds times cores, share of the whole in percent, how many jobs, and
    how many runs they trained. Start-up is what a training job does beside training: imports, reading data, writing
    runs. Scheduling is what cores waited while the suite was not finished."""
    training = [job for job in jobs if job.trained is not None]
    measuring = [job for job in jobs if job.rule == DIAGNOSE]
    others = [job for job in jobs if job.trained is None and job.rule != DIAGNOSE]
    runs = sum(len(job.trained) for job in training)
    whole = cores * length(invocations(jobs))
    trained_for = sum(job.threads * job.training for job in training)
    startup = sum(job.threads * job.seconds for job in training) - trained_for
    measured = sum(job.threads * job.seconds for job in measuring)
    tables = sum(job.threads * job.seconds for job in others)
    parts = (
        ("training", trained_for, sum(job.trained != () for job in training), runs),
        ("start-up", startup, len(training), None),
        ("mechanisms", measured, len(measuring), None),
        ("tables, figures, report", tables, len(others), None),
        ("scheduling", whole - trained_for - startup - measured - tables, None, None),
        ("whole", whole, len(jobs), runs),
    )
    return [
        {"part": part, "core_seconds": seconds, "share": 100 * seconds / whole, "jobs": count, "runs": runs}
        for part, seconds, count, runs in parts
    ]


# ------------------------------------------------------------------------------------------ telling


def heading(suite: str, jobs: list[TimedJob], cores: int) -> str:
    """What was timed, and what a pause is."""
    spans = invocations(jobs)
    return (
        f"Suite {suite}: {duration(length(spans))} on {cores} core{'s' * (cores > 1)}, in {len(spans)} "
        f"invocation{'s' * (len(spans) > 1)} of Snakemake. Pauses in which nothing ran for more than {PAUSE:.0f} s "
        "do not count."
    )


def aligned(parts: list[dict[str, Any]]) -> str:
    """The parts as a Markdown table that a terminal shows in columns."""
    lines = [
        ROW.format("part", "core seconds", "share", "jobs", "runs"),
        "|-------------------------|-------------:|--------:|------:|------:|",
    ]
    for part in parts:
        counts = ("" if part[name] is None else part[name] for name in ("jobs", "runs"))
        lines.append(
            ROW.format(part["part"], f"{part['core_seconds']:.1f}", f"{part['share']:.1f} %", *counts)
        )
    return "\n".join(lines)


def remarks(jobs: list[TimedJob]) -> str:
    """The start-up of a training job, and the longest jobs."""
    longest = sorted(jobs, key=lambda job: job.seconds, reverse=True)[:3]
    lines = [f"Longest jobs: {', '.join(f'{job.name} {job.seconds:.1f} s' for job in longest)}."]
    startups = [job.seconds - job.training for job in jobs if job.trained is not None]
    if startups:
        lines.insert(0, f"Start-up of a training job: {mean(startups):.2f} s on average.")
    return "\n".join(lines)


def mechanisms(plan: Plan, jobs: list[TimedJob]) -> list[str]:
    """How long measuring the mechanisms of each study took, beside the training of all its runs, whichever command
    trained them, by their own clocks; in a sentence, none where nothing was measured."""
    told = []
    for job in jobs:
        rule, _, study = job.name.partition(" ")
        if rule == DIAGNOSE and study in plan.studies:
            seconds = training_of(plan, study)
            share = f" ({100 * job.seconds / seconds:.1f} % of the {seconds:.1f} s)" if seconds else ""
            told.append(f"{study} {job.seconds:.1f} s{share}")
    return [f"Mechanisms, beside the training of the study's runs: {', '.join(told)}."] if told else []


def training_of(plan: Plan, study: str) -> float:
    """Seconds that the runs of a study trained, of those arms whose tables are there."""
    names = [job.name for arm in plan.study(study).arms.values() for job in plan.arm_jobs[arm.id]]
    tables = [layout.arm_table(plan.suite_name, name) for name in dict.fromkeys(names)]
    return sum(float(row["seconds"]) for path in tables if path.is_file() for row in read_arm_table(path))
