"""What only a GPU shows: captured steps, seeds side by side on streams, images streamed to the device, resuming there.
Each compares to the bit. `pytest -m gpu` runs them alone."""

from __future__ import annotations

import pytest
import torch

from ablations.config import Dataset, Recipe
from ablations.data import prepare, read
from ablations.errors import Interrupted
from ablations.networks import DenseNet, GoogLeNet, MobileNet, ResNet
from ablations.plan import Arm, Run
from ablations.store import Store
from ablations.training import engine, job
from ablations.training.checkpoint import Checkpoints, Signals
from ablations.training.device import use
from ablations.training.engine import train
from ablations.training.evaluation import Splits
from ablations.training.job import train_arm
from ablations.training.replay import WARM_UP, Replayed
from ablations.training.snapshots import Snapshots

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="takes an NVIDIA GPU that torch can use"),
]

DATASET = Dataset(title="digits", source="digits", train=200, validation=60, test=100)
# Every use of chance there is, but for what cannot be captured.
MODEL = ResNet(depth=8, widths=(8, 8, 8), dropout=0.2, stochastic_depth=0.3, depth_mode="sample")
RECIPE = Recipe(
    epochs=5, batch_size=16, learning_rate=0.01, crop_padding=1, flip=True, cutout=2, mixup=0.5, rand_augment=1,
    regularise_until=0.5,
)  # fmt: skip
RECIPES = [
    {},
    {"optimiser": "adam", "weight_decay_kind": "decoupled"},
    {"precision": "bf16"},
    {"patience": 1},
]


@pytest.fixture(scope="module")
def device():
    return use("cuda", 1)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.safetensors"
    prepare(DATASET, path)
    return read(path)


def make_run(seed=0, model=MODEL, **recipe):
    return Run(Arm(model, RECIPE.model_copy(update=recipe), DATASET, "digits"), seed, "digits")


def numbers(trained):
    """Of a run, without times."""
    times = ("seconds", "images_per_second", "peak_memory_mb")
    rows = [{k: v for k, v in row.items() if k not in times} for row in [*trained.history, trained.metrics]]
    return rows, {name: value.numpy().tobytes() for name, value in trained.weights.items()}


def eager(monkeypatch):
    """Nothing is captured from here on."""
    monkeypatch.setattr(
        engine, "Replayed", lambda function, device, obstacle=None: Replayed(function, device, "test")
    )


@pytest.mark.parametrize("changes", RECIPES, ids=str)
def test_captured_steps_give_the_numbers_of_eager_ones(digits, device, changes, monkeypatch):
    splits = Splits.of(digits, device)
    captured = train(make_run(**changes), splits)
    again = train(make_run(**changes), splits)
    eager(monkeypatch)
    run_eagerly = train(make_run(**changes), splits)
    assert captured.execution == "CUDA graph" and run_eagerly.execution == "eager: test"
    assert numbers(captured) == numbers(again) == numbers(run_eagerly)


def test_snapshots_of_captured_steps_are_those_of_eager_ones(digits, device, tmp_path, monkeypatch):
    splits = Splits.of(digits, device)
    captured = train(make_run(), splits, snapshots=Snapshots(tmp_path / "captured"))
    assert captured.execution == "CUDA graph" and numbers(captured) == numbers(train(make_run(), splits))
    eager(monkeypatch)
    run_eagerly = train(make_run(), splits, snapshots=Snapshots(tmp_path / "eager"))
    assert list(captured.snapshots) == [1, 2, 4] and captured.snapshots == run_eagerly.snapshots


def test_the_evaluation_is_captured_too(digits, device, monkeypatch):
    made = []

    class Kept(Replayed):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(engine, "Replayed", Kept)
    train(make_run(), Splits.of(digits, device))
    assert [each.function.__name__ for each in made] == ["take_step", "watch"]
    assert all(each.captured for each in made)


@pytest.mark.parametrize(
    "changes",
    [
        {"cutmix": 1.0, "mixup": 0.0},
        {"weight_decay_kind": "l1"},
        {"norm_statistics": "pass"},
        {"memory_format": "contiguous"},
        {"random_labels": 0.3},
    ],
    ids=str,
)
def test_other_recipes_are_captured(digits, device, changes, monkeypatch):
    splits = Splits.of(digits, device)
    captured = train(make_run(**changes), splits)
    eager(monkeypatch)
    assert captured.execution == "CUDA graph"
    assert numbers(captured) == numbers(train(make_run(**changes), splits))


def test_algorithms_may_be_free_and_networks_compiled(digits, device):
    splits = Splits.of(digits, device)
    free = train(make_run(deterministic=False), splits)
    compiled, again = (train(make_run(compile=True), splits) for _ in range(2))
    assert free.metrics["status"] == "finished" and numbers(compiled) == numbers(again)


def test_a_failed_capture_is_told_and_harms_nothing(digits, device, monkeypatch):
    real = engine.augment

    def reading(*arguments):
        images, targets = real(*arguments)
        images.sum().item()  # what a capture does not allow
        return images, targets

    eager_one = train(make_run(), Splits.of(digits, device), lambda row: None)
    monkeypatch.setattr(engine, "augment", reading)
    failed = train(make_run(), Splits.of(digits, device))
    assert failed.execution.startswith("eager: ") and numbers(failed) == numbers(eager_one)


@pytest.mark.parametrize(
    "model",
    [
        ResNet(depth=11, block="bottleneck", cardinality=4),
        DenseNet(depth=10),
        GoogLeNet(multiplier=0.25),
        MobileNet(),
    ],
    ids=lambda model: model.family,
)
def test_the_families_are_captured(digits, device, model, monkeypatch):
    splits = Splits.of(digits, device)
    captured = train(make_run(model=model), splits)
    eager(monkeypatch)
    assert captured.execution == "CUDA graph" and numbers(captured) == numbers(
        train(make_run(model=model), splits)
    )


def test_what_draws_on_the_processor_runs_eagerly_and_says_so(digits, device):
    model = ResNet(depth=8, stochastic_depth=0.5, depth_mode="batch")
    first, again = (train(make_run(model=model), Splits.of(digits, device)) for _ in range(2))
    assert first.execution.startswith("eager: stochastic depth") and numbers(first) == numbers(again)


def test_seeds_at_once_give_the_numbers_of_one_after_another(digits, device, tmp_path):
    splits, arm = Splits.of(digits, device), make_run().arm
    stores = {at_once: Store(tmp_path / str(at_once)) for at_once in (1, 3)}
    for at_once, store in stores.items():
        train_arm(arm, range(4), splits, store, at_once)
    for seed in range(4):
        run = Run(arm, seed, digits.fingerprint).id
        one, several = (store.file(run, "weights.safetensors") for store in stores.values())
        assert one == several and one is not None


@pytest.mark.parametrize("captured", [True, False])
def test_streamed_images_give_the_numbers_of_resident_ones(digits, device, captured, monkeypatch):
    if not captured:
        eager(monkeypatch)
    resident, streamed = (train(make_run(), Splits.of(digits, device, kind)) for kind in (True, False))
    assert (streamed.execution == "CUDA graph") == captured
    assert numbers(resident) == numbers(streamed)


@pytest.mark.parametrize("resident", [True, False])
def test_a_run_resumes_to_the_same_numbers(digits, device, tmp_path, monkeypatch, resident):
    splits, run = Splits.of(digits, device, resident), make_run()
    whole = train(run, splits)
    monkeypatch.setattr(Signals, "received", None)

    class Interrupting(Checkpoints):
        """Interrupts before a step, counted from where the process began: within an epoch, before and after the
        step is captured."""

        def due(self):
            self.left -= 1
            if self.left == 0:
                Signals.received = 15
            return super().due()

    for steps in (2, 9, 20, 7):
        interrupting = Interrupting(tmp_path)
        interrupting.left = steps
        with pytest.raises(Interrupted):
            train(run, splits, checkpoints=interrupting)
        Signals.received = None
    resumed = train(run, splits, checkpoints=Checkpoints(tmp_path))
    assert numbers(resumed) == numbers(whole)


def test_no_step_waits_for_the_device(digits, device, monkeypatch):
    # From the first step to the last of each epoch, eager and captured, a synchronisation is an error.
    class Watched(Replayed):
        def __call__(self):
            if self.function.__name__ != "take_step" or (self.graph is None and self.calls == WARM_UP):
                return super().__call__()  # capturing itself waits
            torch.cuda.set_sync_debug_mode("error")
            try:
                return super().__call__()
            finally:
                torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(engine, "Replayed", Watched)
    assert train(make_run(), Splits.of(digits, device)).metrics["status"] == "finished"


def test_fp32_learns_what_it_learns_on_a_processor(digits, device):
    recipe = {"mixup": 0.0, "rand_augment": 0, "epochs": 20}
    model = ResNet(depth=8, widths=(8, 8, 8))  # without dropout: the device draws its own
    here, there = (
        train(make_run(model=model, **recipe), Splits.of(digits, each)).history
        for each in (torch.device("cpu"), device)
    )
    assert here[0]["running_loss"] == pytest.approx(there[0]["running_loss"], rel=1e-3)
    assert here[-1]["train_error"] == pytest.approx(there[-1]["train_error"], abs=5)


def test_peak_memory_is_that_of_the_device(digits, device, tmp_path):
    peaks = []
    for size in (100, 16):  # the larger first: what it leaves behind does not count
        store, run = Store(tmp_path / str(size)), make_run(batch_size=size)
        train_arm(run.arm, [0], Splits.of(digits, device), store)
        peaks.append(store.metrics(Run(run.arm, 0, digits.fingerprint))["peak_memory_mb"])
    assert peaks[0] > peaks[1] > 0


def test_out_of_memory_names_network_batch_and_device(digits, device, tmp_path, monkeypatch):
    def too_much(*_):
        torch.empty(2**50, device=device)
        yield

    monkeypatch.setattr(job, "course", too_much)
    with pytest.raises(job.UserError, match=r"resnet-8 seed 0, batch_size 16, on cuda:0: out of memory"):
        train_arm(make_run().arm, [0], Splits.of(digits, device), Store(tmp_path))
