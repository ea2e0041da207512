"""What is promised of a run that is killed, interrupted, or finds its files damaged: the same numbers, nothing lost,
nothing used unseen."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import pytest
import torch
from conftest import ROOT

from ablations.cli import main
from ablations.config import Dataset, Recipe
from ablations.data import Header, prepare
from ablations.errors import Interrupted, UserError
from ablations.networks import ResNet
from ablations.plan import Arm, Run
from ablations.store import FILES, SUMS, Store
from ablations.training import job
from ablations.training.checkpoint import GENERATIONS, Checkpoints, Signals
from ablations.training.evaluation import Splits
from ablations.training.job import train_arm

CPU = torch.device("cpu")
DATASET = Dataset(title="digits", source="digits", train=192, validation=60, test=100)
TIMES = ("seconds", "images_per_second", "peak_memory_mb")  # what may differ between two trainings of a run


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return prepare(DATASET, tmp_path_factory.mktemp("data") / "digits.safetensors")


def arm(epochs=4, **recipe):
    """Every use of chance there is: dropout, dropped blocks, crops, flips, RandAugment, cutout, mixing, labels."""
    model = ResNet(depth=8, widths=(4, 4, 4), dropout=0.2, stochastic_depth=0.3, depth_mode="sample")
    fields = {
        "batch_size": 16,
        "learning_rate": 0.01,
        "crop_padding": 1,
        "flip": True,
        "cutout": 2,
        "mixup": 0.5,
    }
    fields |= {"rand_augment": 1, "random_labels": 0.2, "optimiser": "adam", "patience": 30} | recipe
    return Arm(model, Recipe(epochs=epochs, **fields), DATASET, "digits")


def header(data):
    return Header(data.fingerprint, {"train": 192, "validation": 60, "test": 100}, data.shape, 10)


def result(arm, data, store):
    """The numbers of a finished run, without times: metrics, history, weights."""
    (row,) = store.rows(arm, [0], header(data))
    history, weights = (store.file(row["run"], name) for name in ("history.csv", "weights.safetensors"))
    return timeless(row, history.decode(), weights)


def numbers(folder):
    """The same of the only run below a working folder."""
    (run,) = folder.glob("results/runs/*")
    metrics = json.loads((run / "metrics.json").read_text())
    return timeless(metrics, (run / "history.csv").read_text(), (run / "weights.safetensors").read_bytes())


def timeless(metrics, history, weights):
    lines = [line.split(",") for line in history.splitlines()]
    kept = [i for i, name in enumerate(lines[0]) if name not in TIMES]
    return (
        {key: value for key, value in metrics.items() if key not in TIMES},
        [[line[i] for i in kept] for line in lines],
        weights,
    )


def undisturbed(arm, data, folder):
    store = Store(folder)
    train_arm(arm, [0], Splits.of(data, CPU), store)
    return result(arm, data, store)


def every(seconds, monkeypatch):
    monkeypatch.setattr(job, "Checkpoints", lambda folder: Checkpoints(folder, seconds))


def in_a_process(work):
    """Start `work` in a copy of this process, which has torch already. Its process id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = work()
        finally:
            os._exit(code)
    return child


def test_killed_25_times_a_run_ends_as_if_it_had_not_been(digits, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    whole = arm(epochs=80)
    expected = undisturbed(whole, digits, tmp_path / "undisturbed")
    every(0.02, monkeypatch)
    store, chance, kills, resumed = Store(tmp_path / "killed"), random.Random(0), 0, 0
    folder = store.path(Run(whole, 0, digits.fingerprint))

    def work():
        train_arm(whole, [0], Splits.of(digits, CPU), store)
        return 0

    while kills < 25 or resumed <= 10:  # on a busy machine few of the first get as far as a checkpoint
        child = in_a_process(work)
        time.sleep(chance.uniform(0.02, 0.2))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL  # it was still at work
        kills, resumed = kills + 1, resumed + (folder / GENERATIONS[0]).exists()
        assert kills < 500
    assert not (folder / SUMS).exists()
    assert os.waitpid(in_a_process(work), 0)[1] == 0
    assert result(whole, digits, store) == expected
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == sorted(
        [*FILES, SUMS]
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_a_run_at_its_next_step_with_a_checkpoint(digits, tmp_path, number, monkeypatch):
    one, store = arm(), Store(tmp_path / "stopped")
    expected = undisturbed(one, digits, tmp_path / "undisturbed")
    folder = store.path(Run(one, 0, digits.fingerprint))
    rows = []

    class Signalling:
        """A progress that sends the signal after the second epoch."""

        def __init__(self, *_):
            pass

        def __call__(self, row):
            rows.append(row)
            if len(rows) == 2:
                os.kill(os.getpid(), number)

        def finish(self, metrics):
            pass

    before = signal.getsignal(number)
    monkeypatch.setattr(job, "Progress", Signalling)
    with pytest.raises(Interrupted, match=number.name):
        train_arm(one, [0], Splits.of(digits, CPU), store)
    assert len(rows) == 2 and signal.getsignal(number) == before
    assert (folder / "checkpoint").exists() and store.metrics(Run(one, 0, digits.fingerprint)) is None
    Signals.received = None
    train_arm(one, [0], Splits.of(digits, CPU), store)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert result(one, digits, store) == expected


def test_a_signal_after_the_last_step_keeps_the_run_and_stops_before_the_next(digits, tmp_path, monkeypatch):
    one, store = arm(epochs=1), Store(tmp_path)

    class Late(job.Progress):
        def finish(self, metrics):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(job, "Progress", Late)
    with pytest.raises(Interrupted):
        train_arm(one, [0, 1], Splits.of(digits, CPU), store)
    assert [row["seed"] for row in store.rows(one, [0, 1], header(digits))] == [0]
    assert not store.path(Run(one, 1, digits.fingerprint)).exists()  # it has not even begun


def half_trained(one, digits, store, monkeypatch):
    """A run with two generations of checkpoints, the newest a step after the other."""
    every(0.0, monkeypatch)

    class Enough(Exception):
        pass

    class Stopping(job.Progress):
        def __call__(self, row):
            if row["epoch"] == 3:
                raise Enough

    with monkeypatch.context() as patch:
        patch.setattr(job, "Progress", Stopping)
        with pytest.raises(Enough):
            train_arm(one, [0], Splits.of(digits, CPU), store)
    folder = store.path(Run(one, 0, digits.fingerprint))
    return [folder / name for name in GENERATIONS]


DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one bit": lambda content: content[:5000] + bytes([content[5000] ^ 4]) + content[5001:],
    "foreign": lambda content: b"PK\x03\x04 something else" * 100,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("both", [False, True])
def test_a_damaged_checkpoint_is_set_aside_and_an_older_one_used(
    digits, tmp_path, monkeypatch, capsys, damage, both
):
    one, store = arm(), Store(tmp_path / "damaged")
    expected = undisturbed(one, digits, tmp_path / "undisturbed")
    newest, before = half_trained(one, digits, store, monkeypatch)
    for path in (newest, before) if both else (newest,):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    capsys.readouterr()
    train_arm(one, [0], Splits.of(digits, CPU), store)
    told = capsys.readouterr().out
    assert told.count("set aside as") == 1 + both and str(newest) in told
    assert (newest.parent / "checkpoint.damaged-1").exists()
    assert ("epoch 1/4" in told) == both  # from scratch only where nothing was left
    assert result(one, digits, store) == expected


@pytest.mark.parametrize("name", [*FILES, SUMS])
@pytest.mark.parametrize("damage", ["truncated", "one bit", "missing"])
def test_a_damaged_run_is_never_used_and_trained_anew(digits, tmp_path, capsys, name, damage):
    one, store = arm(epochs=1), Store(tmp_path)
    expected = undisturbed(one, digits, tmp_path)
    run = Run(one, 0, digits.fingerprint)
    path = store.path(run) / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    if (name, damage) != (SUMS, "missing"):  # without its sums a run is not finished
        with pytest.raises(UserError, match=r"does not match|missing|damaged"):
            store.verified(run)
        if name != "weights.safetensors":
            with pytest.raises(UserError, match=r"does not match|missing|damaged"):
                result(one, digits, store)
    capsys.readouterr()
    train_arm(one, [0], Splits.of(digits, CPU), store)
    told = capsys.readouterr().out
    assert "cached" not in told and ("set aside as" in told) == ((name, damage) != (SUMS, "missing"))
    assert result(one, digits, store) == expected


# ------------------------------------------------------------------------------- where writing fails

TRAIN = ("train", "depth", "shortcut=identity", "depth=8", "--seeds=0", "--suite=smoke", "--device=cpu")


def ablations(*words, folder):
    command = [sys.executable, "-m", "ablations", *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def main_in(folder, *words):
    """The same in this process; its exit status."""
    with contextlib.chdir(folder):
        return main(list(words))


def file_system(folder, size):
    """A small file system for the time of a test."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes root's rights")
    yield folder
    subprocess.run(["umount", folder], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


@pytest.fixture
def little_space(tmp_path):
    """Enough for the digits, too little for a network."""
    yield from file_system(tmp_path / "little", "256k")


@pytest.fixture
def disk(tmp_path):
    """Enough for everything."""
    yield from file_system(tmp_path / "disk", "20m")


def test_a_full_disk_ends_in_one_message_with_nothing_half_written(little_space):
    done = ablations(*TRAIN, folder=little_space)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr and "Nothing is half-written" in done.stderr
    left = [path for path in (little_space / "results" / "runs").rglob("*") if path.is_file()]
    assert not [path for path in left if path.name in (SUMS, "weights.safetensors") or path.suffix == ".tmp"]
    remount(little_space, "size=20m")
    done = ablations(*TRAIN, folder=little_space)
    assert done.returncode == 0 and "finished after 2 epochs" in done.stdout


@pytest.mark.parametrize("has_data", [False, True])
def test_a_read_only_folder_ends_in_one_message_and_trains_once_it_is_not(disk, capsys, has_data):
    if has_data:
        assert main_in(disk, "prepare", "--suite", "smoke") == 0
    remount(disk, "ro")
    assert main_in(disk, *TRAIN) == 2
    told = capsys.readouterr().err
    assert "Read-only file system" in told and told.count("\n") == 1
    assert not list(disk.rglob("runs"))
    remount(disk, "rw")
    assert main_in(disk, *TRAIN) == 0
    assert "finished after 2 epochs" in capsys.readouterr().out


def test_a_folder_that_becomes_read_only_while_a_run_trains(disk, tmp_path, monkeypatch, capsys):
    assert main_in(tmp_path, *TRAIN) == 0
    expected = numbers(tmp_path)
    every(0.0, monkeypatch)

    class Closing(job.Progress):
        """Closes the file system after the first epoch."""

        def __call__(self, row):
            super().__call__(row)
            remount(disk, "ro")

    with monkeypatch.context() as patch:
        patch.setattr(job, "Progress", Closing)
        patch.setattr(job, "alone", lambda *_: nullcontext())  # no remount while a lock is open for writing
        capsys.readouterr()
        assert main_in(disk, *TRAIN) == 2
    told = capsys.readouterr()
    assert "Read-only file system" in told.err and told.err.count("\n") == 1 and "epoch 1/2" in told.out
    left = {path.name for path in disk.glob("results/runs/*/*")}
    assert left == set(GENERATIONS)  # whole, from before

    remount(disk, "rw")
    assert main_in(disk, *TRAIN) == 0
    assert "set aside" not in capsys.readouterr().out
    assert numbers(disk) == expected


def test_running_out_of_memory_names_network_batch_and_device(digits, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(job, "course", full)
    with pytest.raises(
        UserError, match=r"resnet-8 seed 0, batch_size 16, on cpu: out of memory .*smaller batch_size"
    ):
        train_arm(arm(), [0], Splits.of(digits, CPU), Store(tmp_path))
