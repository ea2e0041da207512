"""Jobs of the workflow that were begun and have not come to their end, with what they printed last. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ablations import layout
from ablations.config import TUNED
from ablations.plan import Plan, PlannedStudy

LINES = 5  # of a log that are told
WIDTH = 160  # of such a line


@dataclass(frozen=True)
class Failure:
    """What a job was to do, its log, and how that ends."""

    work: str
    log: Path
    last_lines: tuple[str, ...]


def failures(plan: Plan, planned: PlannedStudy) -> list[Failure]:
    """The jobs of a study that have left a log and not their output: they failed, were killed, or are at work."""
    return [
        Failure(work, log, last_lines(log))
        for work, log, output in jobs(plan, planned)
        if log.is_file() and not output.exists()
    ]


def failure_lines(failed: list[Failure]) -> list[str]:
    """Lines for a terminal: each job, its log and the end of that."""
    return [f"  {each.work}: {each.log}\n    {''.join(each.last_lines[-1:])}" for each in failed]


def search_failures(plan: Plan, name: str) -> list[Failure]:
    """The jobs of the search of a study that have left a log and not their output."""
    suite = plan.suite_name
    folder = layout.best(suite, name).parent
    found = []
    for rule, work in (("begin_search", "listing the trials"), ("do_trials", "doing trials")):
        for log in sorted(layout.log(suite, rule, "x").parent.glob(f"{name}-*.log")):
            content, _, worker = log.stem.removeprefix(f"{name}-").partition("-")
            output = folder / content / (f"ended-{worker}" if worker else "begun")
            found.append((f"{work} of {name}", log, output))
    found.append(
        (f"ending the search of {name}", layout.log(suite, "end_search", name), layout.best(suite, name))
    )
    return [
        Failure(work, log, last_lines(log))
        for work, log, output in found
        if log.is_file() and not output.exists()
    ]


def jobs(plan: Plan, planned: PlannedStudy) -> Iterator[tuple[str, Path, Path]]:
    """What can fail of a study: the work of a job, its log and its output."""
    suite, name = plan.suite_name, planned.name
    for key in dict.fromkeys(arm.data_key for arm in planned.arms.values()):
        yield f"preparing {key}", layout.data_log(key), layout.data(key)
    if name.endswith(TUNED):
        for number, (key, arm) in enumerate(planned.arms.items()):
            log = layout.log(suite, "train_tuned", f"{name.removesuffix(TUNED)}-{number}")
            yield f"training {arm.name} ({', '.join(key)}), tuned", log, layout.tuned_arm(suite, name, number)
        return
    for job in plan.jobs_of(name):
        keys = "; ".join(", ".join(key) for key, arm in planned.arms.items() if arm.id == job.arm.id)
        seeds = f"seed{'s' if len(job.seeds) > 1 else ''} {', '.join(map(str, job.seeds))}"
        work = f"training {job.arm.name} ({keys}), {seeds}"
        yield work, layout.log(suite, "train", job.name), layout.arm_table(suite, job.name)
    yield "counting costs", layout.log(suite, "cost", name), layout.study_table(suite, name, "cost")
    yield (
        "measuring mechanisms",
        layout.log(suite, "diagnose", name),
        layout.diagnostic(suite, name, "").parent,
    )


def last_lines(log: Path) -> tuple[str, ...]:
    """The end of a log, without empty lines and what only a terminal understands."""
    printed = log.read_text(errors="replace").splitlines()
    lines = ["".join(filter(str.isprintable, line)).rstrip() for line in printed if line.strip()]
    return tuple(line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in lines[-LINES:])
