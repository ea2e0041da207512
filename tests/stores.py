"""Made-up results of a machine, and what lies in a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from conftest import write

from ablations import layout
from ablations.config import Library
from ablations.data import prepare
from ablations.plan import Plan, make_plan
from ablations.store import Store, runs_of, snapshot, table

SUITE = """
title: made up
data: digits-small
seeds: {seeds}
recipe: {{epochs: 2, batch_size: 64, learning_rate: 0.05}}
studies: {{depth: {{levels: {{depth: [8]}}}}}}
"""
WHERE = {
    "ablations": "0.1.0",
    "commit": "0" * 40,
    "dirty": False,
    "python": "3.11.7",
    "torch": "2.15.0",
    "packages": "numpy 2.4.6",
    "cuda": None,
    "device": "a processor",
    "device_type": "cpu",
    "threads": 1,
    "platform": "Linux",
    "execution": "eager: on a processor",
    "at_once": 1,
}


def plan_of(folder: Path, seeds: int = 2) -> Plan:
    """The suite `mine` of some folder, its data prepared in the working directory."""
    write(folder / "my" / "suites" / "mine.yaml", SUITE.format(seeds=seeds))
    plan = make_plan(Library("my" if Path("my").is_dir() else folder / "my"), "mine")
    for arm in plan.study("depth").arms.values():
        if not layout.data(arm.data_key).is_file():
            prepare(arm.dataset, layout.data(arm.data_key))
    return plan


def made_up(
    plan: Plan, seeds: tuple[int, ...], seconds: float = 1.5, shift: float = 0.0, torch: str = "2.15.0"
) -> None:
    """Finished runs of the study `depth`, of two arms with these seeds, in the store of the working directory. What they
    learnt follows from their ids and `shift`, their times are `seconds`."""
    store = Store(layout.RESULTS)
    for _, seed, run in runs_of(plan.study("depth")):
        if seed not in seeds:
            continue
        number = int(run.id[:4], 16) / 1000 + shift
        parts = [f"{part}_{kind}" for part in ("train", "validation", "test") for kind in ("loss", "error")]
        learnt = dict.fromkeys(parts, number)
        watched = {name: value for name, value in learnt.items() if not name.startswith("test")}
        times = {"images_per_second": 640.0 / seconds, "seconds": seconds}
        history = [
            {
                "epoch": epoch,
                "step": 4 * epoch,
                "learning_rate": 0.05,
                "running_loss": number / epoch,
                **watched,
                "gradient_norm": 1.0,
                **times,
            }
            for epoch in (1, 2)
        ]
        metrics = {
            "status": "finished",
            "epochs_trained": 2,
            "measured_epoch": 2,
            **learnt,
            "sparsity": 0.5,
            "peak_memory_mb": 100 * seconds,
            **times,
        }
        kept = f"after one epoch {number}".encode()
        store.folder.joinpath(run.id).mkdir(parents=True, exist_ok=True)
        store.folder.joinpath(run.id, snapshot(1)).write_bytes(kept)
        digests = {1: hashlib.sha256(kept).hexdigest()}
        store.save(run, metrics, history, f"weights {number}".encode(), {**WHERE, "torch": torch}, digests)


def job_tables(plan: Plan) -> None:
    """The tables that training jobs write."""
    from ablations.data import read_header

    for job in plan.jobs_of("depth"):
        rows = Store(layout.RESULTS).rows(job.arm, job.seeds, read_header(layout.data(job.arm.data_key)))
        layout.arm_table("mine", job.name).parent.mkdir(parents=True, exist_ok=True)
        layout.arm_table("mine", job.name).write_text(table(rows))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
