"""What a suite would train: runs, what is cached, and what the rest costs."""

from __future__ import annotations

from statistics import median
from typing import Any

from ablations import data, layout
from ablations.plan import Arm, Plan, Run
from ablations.progress import duration
from ablations.store import Store


def overview(plan: Plan, studies: list[str]) -> str:
    """A table of arms for a terminal. Training costs count the forward pass three times: backward takes two.
    The time is estimated from the pace of the runs that are cached."""
    store = Store(layout.RESULTS)
    lines = [f"suite {plan.suite_name}: {plan.suite.title}"]
    runs: dict[str, tuple[Run, float | None]] = {}  # by id, with the MACs of its training
    for name in studies:
        study = plan.study(name)
        lines += ["", f"{name}: {study.study.title}"]
        lines.append(f"  {'arm':<28} {'runs':>5} {'cached':>7} {'MACs/image':>11} {'MACs/run':>9}")
        for key, arm in study.arms.items():
            header = data.read_header(layout.data(arm.data_key))
            of_arm = [Run(arm, seed, header.fingerprint if header else "") for seed in study.seeds]
            macs, work = costs(arm, header)
            runs |= {run.id: (run, work) for run in of_arm}
            cached = sum(finished(plan, store, run) is not None for run in of_arm)
            levels = " ".join(f"{factor}={level}" for factor, level in study.levels(key).items())
            lines.append(f"  {levels:<28} {len(of_arm):>5} {cached:>7} {number(macs):>11} {number(work):>9}")
    found = {name: metrics for name, (run, _) in runs.items() if (metrics := finished(plan, store, run))}
    lines += ["", f"{len(runs)} runs, {len(found)} cached."]
    missing = [work for name, (_, work) in runs.items() if name not in found]
    if None in missing:
        lines.append(f"Costs are known once the data are there: ablations prepare --suite {plan.suite_name}")
    elif missing:
        paces = [runs[name][1] / metrics["seconds"] for name, metrics in found.items()]
        time = f"about {duration(sum(missing) / median(paces))} one after another, at the pace of the cached runs"
        lines.append(
            f"Left to train: {number(sum(missing))} MACs, {time if paces else 'no run yet to tell the pace'}."
        )
    return "\n".join(lines)


def finished(plan: Plan, store: Store, run: Run) -> dict[str, Any] | None:
    """What a run measured; None where it is to be trained, or trained again for the snapshots that it lacks."""
    metrics = store.metrics(run)
    lacks = metrics and run.arm.id in plan.through_training and store.lacks_snapshots(run, metrics)
    return None if lacks else metrics


def costs(arm: Arm, header: data.Header | None) -> tuple[int | None, float | None]:
    """MACs of an image, and of the training of a run; None before the data are prepared."""
    if header is None:
        return None, None
    from ablations.cost import count

    macs = count(arm.model, header.shape, header.classes).macs
    steps = arm.recipe.epochs * (header.sizes["train"] // arm.recipe.batch_size)
    return macs, 3.0 * macs * steps * arm.recipe.batch_size


def number(value: float | None) -> str:
    """A cost for a table; ? where it is not known yet."""
    return "?" if value is None else f"{value:.2e}"
