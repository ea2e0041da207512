"""Several runs at a time in one process, images that stay off the device, steps that wait for nothing: the same
numbers to the bit. What takes a GPU is in test_gpu.py."""

from __future__ import annotations

import contextlib
import os
import signal

import numpy as np
import pytest
import torch

from ablations import memory_format
from ablations.config import Dataset, Recipe
from ablations.data import prepare, read
from ablations.errors import Interrupted, UserError
from ablations.networks import AlexNet, DenseNet, LeNet, MobileNet, ResNet
from ablations.plan import Arm, Run
from ablations.store import Store
from ablations.training import engine, evaluation, job, optimiser
from ablations.training.augmentation import Draws
from ablations.training.checkpoint import Signals
from ablations.training.engine import train
from ablations.training.evaluation import Splits
from ablations.training.feed import Feed
from ablations.training.job import train_arm
from ablations.training.lane import side_by_side
from ablations.training.replay import WARM_UP, Replayed

CPU = torch.device("cpu")
DATASET = Dataset(title="digits", source="digits", train=200, validation=60, test=100)
SEEDS = (0, 1, 2)
# Every use of chance there is.
MODEL = ResNet(depth=8, widths=(4, 4, 4), dropout=0.2, stochastic_depth=0.3, depth_mode="batch")
RECIPE = Recipe(
    epochs=3, batch_size=16, learning_rate=0.01, optimiser="adam", crop_padding=1, flip=True, cutout=2, mixup=0.5,
    rand_augment=1, random_labels=0.2, regularise_until=0.5,
)  # fmt: skip
ARM = Arm(MODEL, RECIPE, DATASET, "digits")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.safetensors"
    prepare(DATASET, path)
    return read(path)


def numbers(trained):
    """Of a run, without times."""
    times = ("seconds", "images_per_second", "peak_memory_mb")
    rows = [{k: v for k, v in row.items() if k not in times} for row in [*trained.history, trained.metrics]]
    return rows, {name: value.numpy().tobytes() for name, value in trained.weights.items()}


def stored(store, digits):
    """The files of the finished runs of ARM, without those that tell of times."""
    ids = [Run(ARM, seed, digits.fingerprint).id for seed in SEEDS]
    return [store.file(run, name) for run in ids for name in ("config.json", "weights.safetensors")]


# ------------------------------------------------------------------------------------------ several at once


@pytest.mark.parametrize("at_once", [2, 3])
def test_seeds_trained_at_once_are_those_trained_one_after_another(digits, tmp_path, at_once, monkeypatch):
    begun, most = set(), []

    def watched(run, *arguments):
        begun.add(run.id)
        most.append(len(begun))
        trained = yield from engine.course(run, *arguments)
        begun.remove(run.id)
        return trained

    one, several = Store(tmp_path / "one"), Store(tmp_path / "several")
    splits = Splits.of(digits, CPU)
    train_arm(ARM, SEEDS, splits, one)
    monkeypatch.setattr(job, "course", watched)
    train_arm(ARM, SEEDS, splits, several, at_once=at_once)
    assert max(most) == at_once
    assert stored(one, digits) == stored(several, digits) and None not in stored(one, digits)


def test_a_run_beside_others_leaves_the_random_state_outside_alone():
    def course(seed):
        torch.manual_seed(seed)
        drawn = []
        for _ in range(5):
            drawn.append(torch.rand(()).item())
            yield
        return drawn

    alone = [side_by_side([course(seed)], CPU)[0] for seed in SEEDS]
    torch.manual_seed(7)
    outside = torch.rand(4)
    torch.manual_seed(7)
    assert side_by_side(map(course, SEEDS), CPU, at_once=2) == alone
    assert torch.equal(torch.rand(4), outside)


def test_a_signal_ends_all_of_them_with_checkpoints_and_nothing_begins(digits, tmp_path, monkeypatch):
    class Signalling(job.Progress):
        def __call__(self, row):
            if row["epoch"] == 2 and Signals.received is None:
                os.kill(os.getpid(), signal.SIGTERM)

    undisturbed, store, splits = Store(tmp_path / "one"), Store(tmp_path / "stopped"), Splits.of(digits, CPU)
    train_arm(ARM, SEEDS, splits, undisturbed)
    with monkeypatch.context() as patch:
        patch.setattr(job, "Progress", Signalling)
        with pytest.raises(Interrupted):
            train_arm(ARM, SEEDS, splits, store, at_once=2)
    folders = [store.path(Run(ARM, seed, digits.fingerprint)) for seed in SEEDS]
    assert [(folder / "checkpoint").exists() for folder in folders] == [True, True, False]
    train_arm(ARM, SEEDS, splits, store, at_once=3)
    assert stored(store, digits) == stored(undisturbed, digits)


def test_one_that_runs_out_of_memory_leaves_the_others_alone(digits, tmp_path, monkeypatch):
    def course(run, *arguments):
        steps = engine.course(run, *arguments)
        for _ in range(15):
            next(steps)
            yield
        if run.seed == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return (yield from steps)

    undisturbed, store, splits = Store(tmp_path / "one"), Store(tmp_path / "full"), Splits.of(digits, CPU)
    train_arm(ARM, SEEDS, splits, undisturbed)
    with monkeypatch.context() as patch:
        patch.setattr(job, "course", course)
        with pytest.raises(UserError, match=r"resnet-8 seed 1, batch_size 16, on cpu: out of memory"):
            train_arm(ARM, SEEDS, splits, store, at_once=3)
    finished = [store.metrics(Run(ARM, seed, digits.fingerprint)) is not None for seed in SEEDS]
    assert finished == [True, False, True]
    train_arm(ARM, SEEDS, splits, store)
    assert stored(store, digits) == stored(undisturbed, digits)


# ------------------------------------------------------------------------------------------ images off the device


def test_images_that_stay_in_the_file_give_the_same_run_to_the_bit(digits):
    assert isinstance(digits.train.images, np.memmap)
    run = Run(ARM, 0, digits.fingerprint)
    resident, streamed = (numbers(train(run, Splits.of(digits, CPU, resident))) for resident in (True, False))
    assert resident == streamed


def test_a_feed_gives_every_image_of_the_order_once(digits):
    for resident in (True, False):
        feed = Feed(Splits.of(digits, CPU, resident).train, 16)
        order = torch.randperm(200)
        for start in (0, 5):
            feed.begin(order, Draws(), [0.1 * step for step in range(feed.steps)], start)
            for batch in range(start, feed.steps):
                feed.present(batch)
                found = feed.next()
                feed.fetch(batch + 1)
                chosen = order[16 * batch : 16 * (batch + 1)].numpy()
                assert np.array_equal(found.raw, digits.train.images[chosen])
                assert np.array_equal(found.labels, digits.train.labels[chosen])
                assert found.rate.item() == pytest.approx(0.1 * batch)
        assert feed.steps == 12  # full batches only


def test_images_move_to_a_gpu_that_has_room_for_them(digits, monkeypatch):
    size = 360 * 64  # bytes
    for free, expected in ((5 * size, True), (4 * size, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**9))
        assert evaluation.fits(digits, torch.device("cuda", 0)) == expected


# ------------------------------------------------------------------------------------------ steps that can be captured

NETWORKS = [
    ResNet(depth=8, dropout=0.1),
    ResNet(depth=8, stochastic_depth=0.5, depth_mode="sample", norm="layer"),
    ResNet(depth=11, block="bottleneck", cardinality=4, inner=16, drop_connect=0.1, weights="product"),
    DenseNet(depth=10),
    LeNet(),
    MobileNet(multiplier=0.25),
]
RECIPES = [
    {},
    {"optimiser": "adam", "weight_decay_kind": "decoupled", "cutout": 2, "mixup": 0.5, "rand_augment": 1},
    {"weight_decay_kind": "l1", "nesterov": True, "cutmix": 1.0, "flip": True, "crop_padding": 1},
]


@pytest.mark.parametrize("model", NETWORKS, ids=lambda model: model.family)
@pytest.mark.parametrize("changes", RECIPES, ids=["sgd", "adam", "l1"])
def test_a_step_reads_nothing_back_from_the_device(digits, model, changes, monkeypatch):
    # Tensors without values: to read one on the host, or a shape that depends on one, is an error.
    for module in (engine, evaluation):
        monkeypatch.setattr(module, "autocast", lambda *_: contextlib.nullcontext())
    for update in ("sgd", "adam"):  # torch's own, fused: it has no version without values
        monkeypatch.setattr(optimiser, update, lambda *_, **__: None)
    recipe = Recipe(epochs=1, batch_size=64, learning_rate=0.1, **changes)
    splits = Splits.of(digits, torch.device("meta"))
    course = engine.course(Run(Arm(model, recipe, DATASET, "digits"), 0, "x"), splits, lambda row: None)
    for _ in range(3):
        next(course)
    with pytest.raises(RuntimeError, match="meta"):  # the epoch's end does read
        next(course)


def test_what_cannot_be_captured_is_known_before():
    build = lambda model: engine.build(model, (1, 8, 8), 10)  # noqa: E731
    batch, sample = (ResNet(depth=8, stochastic_depth=0.5, depth_mode=mode) for mode in ("batch", "sample"))
    assert "stochastic depth" in engine.obstacle(build(batch))
    assert engine.obstacle(build(sample)) is None and engine.obstacle(build(ResNet(depth=8))) is None


class StandInGraph:
    """What torch.cuda.CUDAGraph does, without a GPU."""

    def __init__(self):
        self.replays = 0

    def replay(self):
        self.replays += 1


class StandInCapture(contextlib.AbstractContextManager):
    """What torch.cuda.graph does on leaving: an error within it is followed by one of its own."""

    def __exit__(self, kind, *_):
        if kind is not None:
            raise RuntimeError("operation failed due to a previous error during capture")


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", StandInGraph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: StandInCapture())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    return torch.device("cuda", 0)


def test_a_function_is_captured_after_its_first_calls_and_replayed(stand_in):
    calls = []
    replayed = Replayed(lambda: calls.append(1) or len(calls), stand_in)
    assert [replayed() for _ in range(WARM_UP + 4)] == [*range(1, WARM_UP + 1), *4 * [WARM_UP + 1]]
    assert replayed.graph.replays == 4 and replayed.how == "CUDA graph"
    replayed.forget()
    replayed()
    assert len(calls) == WARM_UP + 2


def test_what_cannot_be_captured_runs_and_says_why(stand_in, capsys):
    calls = []

    def reads():
        calls.append(1)
        if len(calls) == WARM_UP + 1:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    replayed = Replayed(reads, stand_in)
    for _ in range(10):
        replayed()
    assert len(calls) == 11 and replayed.how == "eager: operation not permitted when stream is capturing"
    assert capsys.readouterr().out.count("not captured as a CUDA graph") == 1
    known = Replayed(calls.clear, stand_in, "known before")
    for _ in range(10):
        known()
    assert known.how == "eager: known before" and Replayed(calls.clear, CPU).how == "eager: on a processor"


def test_a_function_that_is_called_too_seldom_is_not_called_captured(stand_in):
    replayed = Replayed(lambda: None, stand_in)
    for _ in range(WARM_UP):
        replayed()
    assert replayed.how == "eager: too few calls"


# ------------------------------------------------------------------------------------------ what a recipe asks for


def test_formats_are_timed_in_turn(digits):
    arms = [
        Arm(model, RECIPE.model_copy(update={"batch_size": 100}), DATASET, "digits")
        for model in (MODEL, LeNet())
    ]
    told = []
    timings = memory_format.measure(arms, {ARM.data_key: Splits.of(digits, CPU)}, 3, told.append)
    assert told == timings and [timing.network for timing in timings] == ["resnet-8", "lenet-5"]
    for timing in timings:
        assert timing.channels_last > 0 and timing.contiguous > 0
        assert getattr(timing, timing.faster) == min(timing.channels_last, timing.contiguous)


def test_the_memory_format_changes_no_more_than_rounding(digits):
    losses = []
    for name in ("channels_last", "contiguous"):
        recipe = RECIPE.model_copy(update={"memory_format": name})
        net = engine.begin(Run(Arm(MODEL, recipe, DATASET, "d"), 0, "x"), Splits.of(digits, CPU)).net
        assert net[0].weight.is_contiguous(memory_format=engine.LAYOUTS[name])
        losses.append(train(Run(Arm(MODEL, recipe, DATASET, "d"), 0, "x"), Splits.of(digits, CPU)).history)
    assert losses[0][0]["running_loss"] == pytest.approx(losses[1][0]["running_loss"], rel=1e-3)


def test_networks_are_compiled_where_the_recipe_asks_for_it(digits, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda net: compiled.append(net) or net)
    for compile in (False, True):
        recipe = RECIPE.model_copy(update={"compile": compile, "epochs": 1, "regularise_until": 1.0})
        train(Run(Arm(MODEL, recipe, DATASET, "d"), 0, "x"), Splits.of(digits, CPU))
        assert len(compiled) == compile


def test_only_what_is_deterministic_on_a_gpu_is_trained_there():
    average = engine.build(AlexNet(), (3, 64, 64), 10)
    with pytest.raises(UserError, match="deterministic: false"):
        engine.check_determinism(average)
    engine.check_determinism(engine.build(AlexNet(), (3, 32, 32), 10))
