"""What a suite would train: runs, what is cached, what the rest costs, and what its jobs take."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from ablations import data, layout, resources
from ablations.budget import Headers, finished, left, size
from ablations.estimates import Costs, estimates
from ablations.plan import Arm, Plan, Run
from ablations.progress import duration
from ablations.store import Store


def overview(plan: Plan, studies: list[str]) -> str:
    """A table of arms for a terminal. Training costs count the forward pass three times: backward takes two.
    The time is estimated from the pace of the runs that are cached."""
    store, known, kept = Store(layout.RESULTS), Costs(), plan.through_training
    lines = [f"suite {plan.suite_name}: {plan.suite.title}"]
    works: dict[str, float | None] = {}  # MACs of the training of each run, by its id
    found: dict[str, dict[str, Any]] = {}  # what those that are there measured
    for name in studies:
        study = plan.study(name)
        lines += ["", f"{name}: {study.study.title}"]
        lines.append(f"  {'arm':<28} {'runs':>5} {'cached':>7} {'MACs/image':>11} {'MACs/run':>9}")
        for key, arm in study.arms.items():
            header = data.read_header(layout.data(arm.data_key))
            of_arm = [Run(arm, seed, header.fingerprint if header else "") for seed in study.seeds]
            macs, work = costs(arm, header, known)
            works |= {run.id: work for run in of_arm}
            done = {run.id: finished(store, run, arm.id in kept) for run in of_arm}
            found |= {name: metrics for name, metrics in done.items() if metrics}
            cached = len(found.keys() & done.keys())
            levels = " ".join(f"{factor}={level}" for factor, level in study.levels(key).items())
            lines.append(f"  {levels:<28} {len(of_arm):>5} {cached:>7} {number(macs):>11} {number(work):>9}")
    lines += ["", f"{len(works)} runs, {len(found)} cached."]
    missing = [work for name, work in works.items() if name not in found]
    if None in missing:
        lines.append(f"Costs are known once the data are there: ablations prepare --suite {plan.suite_name}")
    elif missing:
        paces = [works[name] / metrics["seconds"] for name, metrics in found.items()]
        time = "no run yet to tell the pace"
        if paces:
            seconds = sum(missing) / median(paces)
            time = f"about {duration(seconds)} one after another, at the pace of the cached runs"
        lines.append(f"Left to train: {number(sum(missing))} MACs, {time}.")
    return "\n".join(lines)


def costs(arm: Arm, header: data.Header | None, known: Costs) -> tuple[int | None, float | None]:
    """MACs of an image, and of the training of a run; None before the data are prepared."""
    if header is None:
        return None, None
    macs = known.of(arm, header).macs
    steps = arm.recipe.epochs * (header.sizes["train"] // arm.recipe.batch_size)
    return macs, 3.0 * macs * steps * arm.recipe.batch_size


def number(value: float | None) -> str:
    """A cost for a table; ? where it is not known yet."""
    return "?" if value is None else f"{value:.2e}"


def demand(plan: Plan, studies: list[str], kind: str) -> str:
    """A table of arms with what their jobs take on a kind of device (cpu, cuda or auto), which is written to
    results/<suite>/resources.csv too. A job trains its arm for all studies that share it. UserError where the data are
    not prepared."""
    jobs = {job.name: job for name in studies for job in plan.jobs_of(name)}
    found, on = estimates(plan, jobs.values(), kind)
    path = resources.write(plan.suite_name, found)
    headers = Headers()
    work = {
        name: (found[name], left(job.arm, job.seeds, headers[job.arm.data_key], job.snapshots))
        for name, job in jobs.items()
    }
    lines = [f"suite {plan.suite_name}: {plan.suite.title}"]
    for name in studies:
        study = plan.study(name)
        lines += [
            "",
            f"{name}: {study.study.title}",
            ROW.format("arm", "runs left", "minutes", "memory", "disk"),
        ]
        for key, arm in study.arms.items():
            of_arm = [work[job.name] for job in plan.arm_jobs[arm.id]]
            runs, seconds, disk_mb = total(of_arm)
            memory = max(each.gpu_memory_mb or each.memory_mb for each, _ in of_arm)
            levels = " ".join(f"{factor}={level}" for factor, level in study.levels(key).items())
            cells = (f"{seconds / 60:.1f}", size(memory / 1000), size(disk_mb / 1000))
            lines.append(ROW.format(levels, runs, *cells))
    runs, seconds, disk_mb = total(work.values())
    where = "Memory is the GPU's, of all runs of a job at once" if on.kind == "cuda" else "Memory is a job's"
    return "\n".join(
        [
            *lines,
            "",
            f"{runs:,} runs left: {duration(seconds)} one after another, {size(disk_mb / 1000)} on disk. {where}.",
            f"From {on}.",
            f"Written to {path}, where Snakemake finds what jobs on a cluster are to ask for: {resources.SAFETY_TIME:g} "
            f"times the time, {resources.SAFETY_MEMORY:g} times the memory.",
        ]
    )


ROW = "  {:<40} {:>9} {:>8} {:>8} {:>8}"


def total(work: Iterable[tuple[resources.Estimate, int]]) -> tuple[int, float, float]:
    """Runs, seconds and MB on disk of some jobs with how many runs are left of each."""
    begun = [(each, runs) for each, runs in work if runs]
    return (
        sum(runs for _, runs in begun),
        sum(each.startup + runs * each.seconds for each, runs in begun),
        sum(runs * each.disk_mb for each, runs in begun),
    )
