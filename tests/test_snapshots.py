"""Weights that runs keep on their way: which runs, the same bits whatever happens on the way, and nothing lost where
they are asked for later."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import time

import pytest
import safetensors.torch
import torch
from conftest import snakemake, write

from ablations import layout
from ablations.budget import left
from ablations.cli import main
from ablations.config import Dataset, Library, Recipe
from ablations.data import Header, prepare
from ablations.networks import ResNet
from ablations.plan import Arm, Run, make_plan
from ablations.store import FILES, SUMS, WEIGHTS, Damaged, Store, snapshot, snapshot_epochs
from ablations.training import job
from ablations.training.checkpoint import Checkpoints
from ablations.training.evaluation import Splits
from ablations.training.job import train_arm

CPU = torch.device("cpu")
DATASET = Dataset(title="digits", source="digits", train=192, validation=60, test=100)
MODEL = ResNet(depth=8, widths=(4, 4, 4), dropout=0.2, stochastic_depth=0.3)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return prepare(DATASET, tmp_path_factory.mktemp("data") / "digits.safetensors")


def arm(epochs=5, **fields):
    """An arm whose course does not depend on how many epochs are to come."""
    recipe = {
        "batch_size": 16,
        "learning_rate": 0.01,
        "schedule": "step",
        "gamma": 1.0,
        "crop_padding": 1,
    } | fields
    return Arm(MODEL, Recipe(epochs=epochs, **recipe), DATASET, "digits")


def trained(one, digits, folder, snapshots=True, **options):
    """The store, the run and its folder after training an arm's first seed."""
    store, run = Store(folder), Run(one, 0, digits.fingerprint)
    train_arm(one, [0], Splits.of(digits, CPU), store, snapshots=snapshots, **options)
    return store, run, store.path(run)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def kept(folder):
    """The weights in a run's folder by name."""
    return {name: content for name, content in contents(folder).items() if name.endswith(".safetensors")}


class Enough(Exception):
    pass


def stopping(epoch):
    """A progress that ends the training after an epoch, as a crash would."""

    class Stopping(job.Progress):
        def __call__(self, row):
            if row["epoch"] == epoch:
                raise Enough

    return Stopping


def test_epochs_are_powers_of_two_below_the_last():
    assert [snapshot_epochs(n) for n in (1, 2, 3, 5, 8, 9)] == [
        [],
        [1],
        [1, 2],
        [1, 2, 4],
        [1, 2, 4],
        [1, 2, 4, 8],
    ]


def test_a_snapshot_is_what_a_training_of_so_many_epochs_ends_with(digits, tmp_path):
    store, run, folder = trained(arm(), digits, tmp_path / "long")
    assert store.snapshots(run.id) == [1, 2, 4]
    for epochs in (1, 2, 4):
        _, _, shorter = trained(arm(epochs), digits, tmp_path / f"{epochs}", snapshots=False)
        assert (folder / snapshot(epochs)).read_bytes() == (shorter / WEIGHTS).read_bytes()


def test_they_are_files_of_the_run_and_change_no_number(digits, tmp_path):
    _, run, folder = trained(arm(), digits, tmp_path / "with")
    others, _, without = trained(arm(), digits, tmp_path / "without", snapshots=False)
    names = {*FILES, SUMS}
    assert set(contents(without)) == names and others.snapshots(run.id) == []
    assert set(contents(folder)) == names | {snapshot(epoch) for epoch in (1, 2, 4)}
    assert (folder / WEIGHTS).read_bytes() == (without / WEIGHTS).read_bytes()
    assert (folder / "config.json").read_bytes() == (without / "config.json").read_bytes()
    checked = subprocess.run(["sha256sum", "--check", SUMS], cwd=folder, capture_output=True, text=True)
    assert checked.returncode == 0 and checked.stdout.count("OK") == 8


def test_a_run_that_ends_early_keeps_those_of_the_epochs_before(digits, tmp_path):
    one = arm(epochs=40, learning_rate=0.001, patience=1)
    store, run, _ = trained(one, digits, tmp_path)
    epochs = store.metrics(run)["epochs_trained"]
    assert 1 < epochs < 40 and store.snapshots(run.id) == snapshot_epochs(epochs)
    hopeless = one.recipe.model_copy(update={"learning_rate": 1e30})
    store, run, _ = trained(dataclasses.replace(one, recipe=hopeless), digits, tmp_path)
    assert store.metrics(run)["status"] == "diverged" and store.snapshots(run.id) == []


def test_killed_again_and_again_a_run_ends_with_the_same_snapshots(digits, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    one = arm(epochs=40)
    _, _, expected = trained(one, digits, tmp_path / "undisturbed")
    monkeypatch.setattr(job, "Checkpoints", lambda folder: Checkpoints(folder, 0.02))
    store, chance = Store(tmp_path / "killed"), random.Random(0)
    folder = store.path(Run(one, 0, digits.fingerprint))

    def begin():
        child = os.fork()
        if child == 0:
            code = 1
            try:
                trained(one, digits, tmp_path / "killed")
                code = 0
            finally:
                os._exit(code)
        return child

    def written():
        checkpoint = folder / "checkpoint"
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else None

    for _ in range(10):
        before, child = written(), begin()
        while written() == before:  # it has loaded what was there, and goes on
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL  # it was still at work
    assert list(folder.glob("snapshot-*")) and not (folder / SUMS).exists()
    assert os.waitpid(begin(), 0)[1] == 0
    assert kept(folder) == kept(expected) and len(kept(folder)) == 7  # 1 to 32, and the last
    assert (folder / SUMS).read_text().count("snapshot-") == 6


@pytest.mark.parametrize("fault", ["never kept", "lost", "damaged"])
def test_a_checkpoint_without_its_snapshots_is_not_gone_on_from(digits, tmp_path, monkeypatch, capsys, fault):
    _, _, expected = trained(arm(), digits, tmp_path / "undisturbed")
    monkeypatch.setattr(job, "Checkpoints", lambda folder: Checkpoints(folder, 0.0))
    with monkeypatch.context() as patch, pytest.raises(Enough):
        patch.setattr(job, "Progress", stopping(4))
        trained(arm(), digits, tmp_path / "stopped", snapshots=fault != "never kept")
    folder = Store(tmp_path / "stopped").path(Run(arm(), 0, digits.fingerprint))
    if fault == "lost":
        (folder / snapshot(2)).unlink()
    elif fault == "damaged":
        content = (folder / snapshot(2)).read_bytes()
        (folder / snapshot(2)).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    capsys.readouterr()
    trained(arm(), digits, tmp_path / "stopped")
    told = capsys.readouterr().out
    assert "trained from the start, its snapshots are not all there" in told and "epoch 1/5" in told
    assert kept(folder) == kept(expected)


def test_asked_for_later_they_are_made_and_the_run_stays(digits, tmp_path, monkeypatch, capsys):
    _, _, expected = trained(arm(), digits, tmp_path / "at once")
    store, run, folder = trained(arm(), digits, tmp_path / "later", snapshots=False)
    before = contents(folder)
    monkeypatch.setattr(layout, "RESULTS", tmp_path / "later")
    header = Header(digits.fingerprint, {}, digits.shape, len(digits.classes))
    assert left(arm(), [0, 1], header, snapshots=False) == 1
    assert left(arm(), [0, 1], header, snapshots=True) == 2
    monkeypatch.setattr(job, "Checkpoints", lambda folder: Checkpoints(folder, 0.0))
    with monkeypatch.context() as patch, pytest.raises(Enough):
        patch.setattr(job, "Progress", stopping(3))
        trained(arm(), digits, tmp_path / "later")
    assert store.verified(run) is not None and before.items() <= contents(folder).items()  # killed midway
    capsys.readouterr()
    trained(arm(), digits, tmp_path / "later")
    told = capsys.readouterr().out
    assert "trained again for its snapshots, to the same weights; the run stays as it was" in told
    assert "epoch 1/5" not in told and "epoch 4/5" in told
    after = contents(folder)
    assert all(after[name] == before[name] for name in FILES)
    assert kept(folder) == kept(expected) and set(after) == {*FILES, SUMS, *kept(folder)}
    trained(arm(), digits, tmp_path / "later")
    assert "cached" in capsys.readouterr().out and contents(folder) == after


def test_a_training_that_ends_elsewhere_takes_the_place_of_the_other(digits, tmp_path, capsys):
    _, _, expected = trained(arm(), digits, tmp_path / "at once")
    store, run, folder = trained(arm(), digits, tmp_path / "elsewhere", snapshots=False)
    weights = {name: value + 1 for name, value in safetensors.torch.load(kept(folder)[WEIGHTS]).items()}
    row = {"epoch": 5}
    store.save(run, {**store.metrics(run), "seconds": -1}, [row], safetensors.torch.save(weights), {})
    trained(arm(), digits, tmp_path / "elsewhere")
    assert "to other weights than it had; this training takes the place" in capsys.readouterr().out
    assert kept(folder) == kept(expected) and store.verified(run)["seconds"] > 0


def test_a_damaged_snapshot_is_never_used_and_its_run_trained_anew(digits, tmp_path, capsys):
    store, run, folder = trained(arm(), digits, tmp_path)
    expected = kept(folder)
    (folder / snapshot(2)).write_bytes(expected[snapshot(2)][:-1])
    with pytest.raises(Damaged, match="snapshot-2"):
        store.verified(run)
    trained(arm(), digits, tmp_path)
    assert "set aside" in capsys.readouterr().out and kept(folder) == expected


def test_seeds_trained_at_once_keep_the_same(digits, tmp_path):
    one, several = Store(tmp_path / "one"), Store(tmp_path / "several")
    for store, at_once in ((one, 1), (several, 2)):
        train_arm(arm(), (0, 1), Splits.of(digits, CPU), store, at_once, snapshots=True)
    for seed in (0, 1):
        run = Run(arm(), seed, digits.fingerprint)
        assert kept(one.path(run)) == kept(several.path(run)) and len(kept(one.path(run))) == 4


# ------------------------------------------------------------------------------------------ which runs

SUITE = """
title: tiny
data: digits-small
seeds: 2
recipe: {epochs: 2, batch_size: 64, learning_rate: 0.05}
studies:
  mine: {}
  other: {}
"""
STUDY = """
title: t
question: q
background: b
factors: {depth: [8, 14], shortcut: [none, identity]}
"""
FOLLOWED = "diagnostics:\n  gradient-through-training: {colour: shortcut, arms: {depth: last}}\n"
LOOKED_AT = "diagnostics:\n  gradient-by-layer: {colour: shortcut, arms: {depth: last}}\n"


def plan_of(folder, mine, other=""):
    write(folder / "my" / "suites" / "tiny.yaml", SUITE)
    write(folder / "my" / "studies" / "mine.yaml", STUDY + mine)
    write(folder / "my" / "studies" / "other.yaml", STUDY + other)
    return make_plan(Library(folder / "my"), "tiny")


def keeping(plan):
    jobs = plan.jobs_of("mine")
    return {(job.arm.model.depth, job.arm.model.shortcut) for job in jobs if job.snapshots}


def test_arms_that_a_study_follows_through_training_keep_snapshots(tmp_path):
    assert keeping(plan_of(tmp_path, "")) == keeping(plan_of(tmp_path, LOOKED_AT)) == set()
    assert keeping(plan_of(tmp_path, FOLLOWED)) == {(14, "none"), (14, "identity")}
    both = plan_of(tmp_path, FOLLOWED, FOLLOWED.replace("last", "8"))
    assert keeping(both) == {(depth, shortcut) for depth in (8, 14) for shortcut in ("none", "identity")}
    assert keeping(plan_of(tmp_path, FOLLOWED.replace("last", "20"))) == set()  # not in this suite


def test_that_runs_keep_snapshots_is_no_part_of_their_identity(tmp_path):
    with_, without = plan_of(tmp_path, FOLLOWED), plan_of(tmp_path, "")
    assert list(with_.jobs) == list(without.jobs)
    for ours, theirs in zip(with_.jobs_of("mine"), without.jobs_of("mine"), strict=True):
        assert dataclasses.replace(ours, snapshots=theirs.snapshots) == theirs
        assert Run(ours.arm, 0, "data").id == Run(theirs.arm, 0, "data").id


def test_the_command_line_trains_them_with_snapshots(workspace, capsys):
    plan_of(workspace, "")
    train = ("train", "mine", "shortcut=none", "--suite", "tiny", "--extra", "my", "--device", "cpu")
    assert main([*train, "--seeds", "0"]) == 0
    plan_of(workspace, FOLLOWED)
    capsys.readouterr()
    assert main(["plan", "mine", "--suite", "tiny", "--extra", "my"]) == 0
    assert "8 runs, 1 cached" in capsys.readouterr().out  # the other is to be trained again
    assert main([*train, "--seeds", "0"]) == 0
    told = capsys.readouterr().out
    assert told.count("cached") == 1 and "plain-14 seed 0: trained again for its snapshots" in told
    assert len(list(workspace.glob("results/runs/*/snapshot-1.safetensors"))) == 1
    assert main(["diagnose", "mine", "--suite", "tiny", "--extra", "my"]) == 0
    told = capsys.readouterr().out
    assert "has no snapshots" not in told
    rows = (
        (workspace / "results/tiny/mine/diagnostics/gradient-through-training.csv").read_text().splitlines()
    )
    assert sorted({row.split(",")[5] for row in rows if row.split(",")[1] == "none"}) == ["0", "1", "2"]


def test_a_study_that_newly_asks_has_its_jobs_done_again(tmp_path):
    plan = plan_of(tmp_path, "")
    tables = [f"results/tiny/arms/{each.name}.csv" for each in plan.jobs_of("mine")]
    own = ("--config", "suite=tiny", "extra=my")
    snakemake(*tables, *own, folder=tmp_path)
    assert "Nothing to be done" in snakemake("-n", *tables, *own, folder=tmp_path)
    plan_of(tmp_path, FOLLOWED)
    output = snakemake("-n", *tables, *own, folder=tmp_path)
    assert output.count("Training plain-14") == 1 and output.count("Training resnet-14") == 1
    assert "-8, seeds" not in output
