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
from ablations.training.replay import Replayed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="takes an NVIDIA GPU that torch can use"),
]

DATASET = Dataset(title="digits", source="digits", train=200, validation=60, test=100)
# Every use of chance there is, but for what cannot be captured.
MODEL = ResNet(depth=8, widths=(8, 8, 8), dropout=0.2, stochastic_depth=0.3, depth_mode="sample")
RECIPE = Recipe(
    epochs=3, batch_size=16, learning_rate=0.01, crop_padding=1, flip=True, cutout=2, mixup=0.5, rand_augment=1,
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
    assert captured.steps == "CUDA graph" and run_eagerly.steps == "eager: test"
    assert numbers(captured) == numbers(again) == numbers(run_eagerly)


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
    assert captured.steps == "CUDA graph" and numbers(captured) == numbers(
        train(make_run(model=model), splits)
    )


def test_what_draws_on_the_processor_runs_eagerly_and_says_so(digits, device):
    model = ResNet(depth=8, stochastic_depth=0.5, depth_mode="batch")
    first, again = (train(make_run(model=model), Splits.of(digits, device)) for _ in range(2))
    assert first.steps.startswith("eager: stochastic depth") and numbers(first) == numbers(again)


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
    assert numbers(resident) == numbers(streamed)


def test_a_run_resumes_to_the_same_numbers(digits, device, tmp_path, monkeypatch):
    splits, run = Splits.of(digits, device), make_run()
    whole = train(run, splits)
    monkeypatch.setattr(Signals, "received", None)

    def interrupt(row):
        Signals.received = 15

    for report in (interrupt, interrupt):
        with pytest.raises(Interrupted):
            train(run, splits, report, Checkpoints(tmp_path))
        Signals.received = None
    assert numbers(train(run, splits, checkpoints=Checkpoints(tmp_path))) == numbers(whole)


def test_no_step_waits_for_the_device(digits, device, monkeypatch):
    # From the first step to the last of each epoch, eager and captured, a synchronisation is an error.
    class Watched(Replayed):
        def __call__(self):
            if self.function.__name__ != "take_step" or (self.graph is None and self.calls == 3):
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


def test_peak_memory_is_that_of_the_device(digits, device):
    small, large = (train(make_run(batch_size=size), Splits.of(digits, device)) for size in (16, 100))
    assert 0 < small.metrics["peak_memory_mb"] < large.metrics["peak_memory_mb"]


def test_out_of_memory_names_network_batch_and_device(digits, device, tmp_path, monkeypatch):
    def too_much(*_):
        torch.empty(2**50, device=device)
        yield

    monkeypatch.setattr(job, "course", too_much)
    with pytest.raises(job.UserError, match=r"resnet-8, batch_size 16, on cuda:0: out of memory"):
        train_arm(make_run().arm, [0], Splits.of(digits, device), Store(tmp_path))
