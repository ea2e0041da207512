"""Runs of the store trained again, beside it: do they come to the same bits?"""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from ablations import data, layout
from ablations.agreement import OUTCOME, Outcome, apart, first_difference, side_by_side
from ablations.errors import UserError
from ablations.plan import Run, run_of
from ablations.store import WEIGHTS, Store
from ablations.training.device import leasable, use
from ablations.training.evaluation import Splits
from ablations.training.job import train_arm
from ablations.training.lease import leased


@dataclass(frozen=True)
class Stored:
    """A run of the store that can be trained again here."""

    run: Run
    kind: str  # of device: cpu or cuda
    threads: int
    path: Path  # of its data


def choose(store: Store, ids: Iterable[str], number: int, seed: int) -> list[Stored]:
    """Some runs drawn by a seed from those that can be trained again here: of this engine version, their data
    prepared, on a kind of device that is here. UserError where there is none."""
    files = sorted(layout.data("any").parent.glob("*.safetensors"))
    known = {}
    for path in files:
        with contextlib.suppress(UserError):  # damaged
            known[data.read_header(path).fingerprint] = path
    kinds = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    able = []
    for name in sorted(ids):
        try:
            run = run_of(json.loads(store.file(name, "config.json")))
        except ValueError:  # of another engine version
            continue
        where = json.loads(store.file(name, "environment.json"))
        if run.fingerprint in known and where.get("device_type") in kinds:
            able.append(Stored(run, where["device_type"], where["threads"], known[run.fingerprint]))
    if not able:
        raise UserError(
            f"no run can be trained again here: {store.folder} has none of this engine version that was trained on "
            f"{' or '.join(kinds)} and whose data are prepared in {layout.data('any').parent}"
        )
    return random.Random(seed).sample(able, min(number, len(able)))


# What a second training can come to.
SAME, ELSEWHERE, DIFFERENT = (
    "the same to the bit",
    "other, where others are expected",
    "other, without a reason",
)


def train_again(stored: Stored, store: Store) -> str:
    """Train a run again, on as many threads, and tell what it comes to, and where that first differs."""
    run, kind = stored.run, stored.kind
    with tempfile.TemporaryDirectory() as folder, leased(leasable(kind)) as leased_device:
        device = use(kind, stored.threads, leased_device)
        splits, fresh = Splits.of(data.read(stored.path), device), Store(Path(folder))
        train_arm(run.arm, [run.seed], splits, fresh)
        before, now = (outcome(each, run.id) for each in (store, fresh))
        difference, name = first_difference(before, now), f"{run.arm.name} seed {run.seed} ({run.id})"
        if difference is None:
            print(f"{name}: the same to the bit: history, metrics and weights", flush=True)
            return SAME
        print(f"{name}: not the same; first in {difference}")
        print(
            "\n".join([*side_by_side(before, now, ("in the store", "again")), *between(store, fresh, run.id)])
        )
    reason = f"the environments differ ({', '.join(apart(before, now))})" if apart(before, now) else ""
    if kind == "cuda" and not run.arm.recipe.deterministic:
        reason = "its recipe is not deterministic on a GPU"
    if reason:
        print(f"    The bits are not expected to agree: {reason}.", flush=True)
    else:
        print(
            "    They should agree: the run was altered, the machine errs, or the code gives other numbers under the same "
            "engine version.",
            flush=True,
        )
    return ELSEWHERE if reason else DIFFERENT


def outcome(store: Store, run: str) -> Outcome:
    """What a run in a store came to."""
    return Outcome.of({name: store.file(run, name) for name in OUTCOME}, store.digest(run, WEIGHTS))


def between(a: Store, b: Store, run: str) -> list[str]:
    """How far the weights of a run in two stores are apart, in a line; none where one of them has no weights."""
    if WEIGHTS not in a.sums(run):
        return []
    first, second = (safetensors.torch.load(store.file(run, WEIGHTS)) for store in (a, b))
    if {name: each.shape for name, each in first.items()} != {
        name: each.shape for name, each in second.items()
    }:
        return ["    The weights have other shapes."]
    whole, other = (torch.cat([each[name].double().flatten() for name in first]) for each in (first, second))
    most, part = (whole - other).abs().max().item(), 100 * ((whole - other).norm() / whole.norm()).item()
    return [f"    The weights differ by {most:.3g} at most, {part:.3g} % of their norm."]
