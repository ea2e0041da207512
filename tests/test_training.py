from __future__ import annotations

import copy
import hashlib
import math
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ablations.training.engine as engine
import ablations.training.evaluation as evaluation
from ablations.config import Dataset, Recipe
from ablations.data import SPLITS, Header, Images, prepare
from ablations.errors import Interrupted, UserError
from ablations.locks import take
from ablations.networks import ResNet
from ablations.plan import Arm, Run
from ablations.store import HISTORY, Store
from ablations.training.augmentation import augment
from ablations.training.device import use
from ablations.training.evaluation import Splits
from ablations.training.job import train_arm
from ablations.training.optimiser import Optimiser
from ablations.training.schedule import learning_rate
from ablations.training.streams import stream, stream_seed

CPU = torch.device("cpu")
DATASET = Dataset(title="digits", source="digits", train=192, validation=60, test=100)
RECIPE = Recipe(epochs=2, batch_size=64, learning_rate=0.05, crop_padding=1, flip=True)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return prepare(DATASET, tmp_path_factory.mktemp("data") / "digits.safetensors")


def make_run(data, seed=0, model=None, **recipe):
    arm = Arm(model or ResNet(depth=8), RECIPE.model_copy(update=recipe), DATASET, "digits")
    return Run(arm, seed, data.fingerprint)


def trained(data, **options):
    return engine.train(make_run(data, **options), Splits.of(data, CPU))


# ------------------------------------------------------------------------------------------ schedule


def test_cosine_schedule_by_hand():
    recipe = RECIPE.model_copy(update={"epochs": 10, "warmup": 2.0, "learning_rate": 1.0})
    rates = [learning_rate(recipe, step, 5) for step in range(50)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1.0
    assert rates[30] == pytest.approx(0.5)
    assert rates[49] == pytest.approx(0.5 * (1 + math.cos(math.pi * 39 / 40)))


def test_a_constant_schedule_is_constant_after_its_warm_up():
    recipe = Recipe(epochs=10, batch_size=32, learning_rate=0.1, schedule="constant", warmup=2)
    rates = [learning_rate(recipe, step, 2) for step in range(20)]
    assert rates == pytest.approx([0.025, 0.05, 0.075] + [0.1] * 17)


def test_step_schedule_by_hand():
    recipe = RECIPE.model_copy(update={"epochs": 8, "schedule": "step", "learning_rate": 1.0})
    rates = [learning_rate(recipe, step, 1) for step in range(8)]
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


@given(
    st.integers(1, 20), st.integers(1, 20), st.sampled_from(["step", "cosine", "constant"]), st.floats(0, 1)
)
def test_rates_are_positive_and_never_above_the_highest(epochs, steps, schedule, warmup):
    recipe = RECIPE.model_copy(update={"epochs": epochs, "schedule": schedule, "warmup": warmup * epochs})
    rates = [learning_rate(recipe, step, steps) for step in range(epochs * steps)]
    assert all(0 < rate <= recipe.learning_rate for rate in rates)


# ------------------------------------------------------------------------------------------ optimiser


def sgd(parameters, recipe):
    options = {"momentum": recipe.momentum, "nesterov": recipe.nesterov, "weight_decay": recipe.weight_decay}
    return torch.optim.SGD(parameters, lr=1, fused=True, **options)


def adam(kind):
    def make(parameters, recipe):
        options = {"betas": (recipe.momentum, 0.999), "weight_decay": recipe.weight_decay}
        return kind(parameters, lr=1, fused=True, **options)

    return make


def moved(recipe, reference=None, steps=5):
    """Weights after some steps by our optimiser and, where there is one, by torch's."""
    torch.manual_seed(0)
    ours = torch.nn.Linear(5, 3)
    theirs = copy.deepcopy(ours)
    optimisers = [(ours, Optimiser(ours.parameters(), recipe))]
    if reference:
        optimisers.append((theirs, reference(theirs.parameters(), recipe)))
    for step in range(steps):
        x, rate = torch.randn(4, 5), torch.tensor(0.01 / (step + 1))
        for net, optimiser in optimisers:
            optimiser.zero_grad()
            net(x).square().sum().backward()
            if net is ours:
                optimiser.step(rate)
            else:
                optimiser.param_groups[0]["lr"] = rate
                optimiser.step()
    return [list(net.parameters()) for net, _ in optimisers]


@pytest.mark.parametrize(
    ("changes", "reference"),
    [
        ({}, sgd),
        ({"nesterov": True}, sgd),
        ({"momentum": 0.0}, sgd),
        ({"weight_decay": 0.0}, sgd),
        ({"optimiser": "adam", "weight_decay": 0.1}, adam(torch.optim.Adam)),
        (
            {"optimiser": "adam", "weight_decay": 0.1, "weight_decay_kind": "decoupled"},
            adam(torch.optim.AdamW),
        ),
        ({"optimiser": "adam", "momentum": 0.5, "weight_decay": 0.0}, adam(torch.optim.Adam)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_the_optimisers_are_torchs(changes, reference):
    ours, theirs = moved(RECIPE.model_copy(update=changes), reference)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", ["l2", "l1", "decoupled"])
def test_weight_decays_by_hand(kind):
    recipe = RECIPE.model_copy(update={"momentum": 0.0, "weight_decay": 0.1, "weight_decay_kind": kind})
    weight = torch.nn.Parameter(torch.tensor([2.0, -3.0, 0.0]))
    weight.grad = torch.tensor([1.0, 1.0, 1.0])
    Optimiser([weight], recipe).step(torch.tensor(0.5))
    after = {"l2": [1.4, -3.35, -0.5], "l1": [1.45, -3.45, -0.5], "decoupled": [1.4, -3.35, -0.5]}[kind]
    assert weight.tolist() == pytest.approx(after)


# ------------------------------------------------------------------------------------------ streams


def test_streams_differ_by_name_and_seed_and_repeat():
    seeds = {
        stream_seed(seed, name)
        for seed in range(50)
        for name in ("initialisation", "order", "augmentation", "dropout")
    }
    assert len(seeds) == 200
    assert stream_seed(0, "order") == 5231958647509549229  # pinned: it is part of the engine version


def test_one_seed_shows_every_arm_the_same_batches(digits, monkeypatch):
    seen = {}

    def spy(*arguments):
        images, targets = augment(*arguments)
        batches.append(images.clone())
        return images, targets

    monkeypatch.setattr(engine, "augment", spy)
    for name, model in (("a", ResNet(depth=8)), ("b", ResNet(depth=20, shortcut="none", widths=(4, 8, 8)))):
        batches = []
        trained(digits, model=model)
        seen[name] = torch.stack(batches)
    assert len(seen["a"]) == 6
    assert torch.equal(seen["a"], seen["b"])
    batches = []
    trained(digits, seed=1)
    assert not torch.equal(seen["a"], torch.stack(batches))


# ------------------------------------------------------------------------------------------ the run


def test_training_learns_digits(digits):
    result = trained(digits, epochs=25, flip=False)
    assert result.metrics["status"] == "finished"
    assert result.metrics["train_error"] < 10
    assert len(result.history) == 25 and result.history[-1]["step"] == 75
    assert all(tuple(row) == HISTORY for row in result.history)


def test_a_channel_that_is_the_same_in_all_images_does_no_harm(digits):
    def with_another(part):
        return Images(np.concatenate([part.images, np.full_like(part.images, 128)], axis=1), part.labels)

    parts = {name: with_another(getattr(digits, name)) for name in SPLITS}
    even = replace(digits, mean=(*digits.mean, 128 / 255), std=(*digits.std, 0.0), **parts)
    assert trained(even).metrics["status"] == "finished"


def test_runs_are_trained_in_one_order_whatever_is_asked_for(digits, tmp_path, capsys):
    """Else two processes that each hold the run that the other one waits for wait for ever."""
    train_arm(make_run(digits, epochs=1).arm, [2, 0, 1], Splits.of(digits, CPU), Store(tmp_path))
    told = re.findall(r"seed (\d): finished", capsys.readouterr().out)
    assert told == ["0", "1", "2"]


def test_a_signal_ends_the_wait_for_a_run_that_another_process_trains(digits, tmp_path):
    store, run = Store(tmp_path / "runs"), make_run(digits, epochs=1)
    holder = take(store.lock(run.id))
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(Interrupted):
        train_arm(run.arm, [0], Splits.of(digits, CPU), store)
    timer.join()
    holder.close()


TWICE = """
import hashlib, sys
sys.path.insert(0, {tests!r})
import torch
from pathlib import Path
from test_training import trained
from ablations.data import read
data = read(Path({path!r}))
for case in sys.argv[1:]:
    threads, precision = case.split("-")
    torch.set_num_threads(int(threads))
    result = trained(data, precision=precision)
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in result.weights.values()))
    history = [{{k: v for k, v in row.items() if k not in ("images_per_second", "seconds")}} for row in result.history]
    print(case, digest.hexdigest(), history)
"""


def test_two_processes_give_bitwise_equal_runs(tmp_path):
    prepare(DATASET, tmp_path / "digits")
    code = TWICE.format(tests=str(Path(__file__).parent), path=str(tmp_path / "digits"))
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # threads that spin are slow on a busy machine
    cases = [f"{threads}-{precision}" for threads in (1, 2) for precision in ("fp32", "bf16")]
    told = []
    for order in (cases, cases[::-1]):  # what a process did before changes nothing
        command = [sys.executable, "-c", code, *order]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        told.append(dict(line.split(" ", 1) for line in done.stdout.splitlines()))
    assert told[0] == told[1] and list(told[0]) == cases
    assert min(map(len, told[0].values())) > 200


def test_the_test_split_is_read_once_after_training(digits, monkeypatch):
    reads, steps = [], []

    class Watched(Images):
        def __getattribute__(self, name):
            if name == "images":
                reads.append(len(steps))
            return super().__getattribute__(name)

    def count(*arguments):
        steps.append(1)
        return augment(*arguments)

    monkeypatch.setattr(engine, "augment", count)
    trained(replace(digits, test=Watched(digits.test.images, digits.test.labels)))
    assert reads == [6]  # once, after all six steps


def test_a_diverged_run_ends_and_counts_as_guessing(digits):
    result = trained(digits, learning_rate=1e30, epochs=5)
    assert result.metrics["status"] == "diverged"
    assert result.metrics["epochs_trained"] == len(result.history) == 1
    assert result.metrics["test_error"] == 90.0
    assert result.metrics["test_loss"] == pytest.approx(math.log(10))


def test_a_loss_that_is_lost_with_the_last_step_is_divergence_too(digits):
    result = trained(digits, learning_rate=1e20, epochs=1, batch_size=192)  # one step: its own loss was fine
    assert math.isfinite(result.history[0]["running_loss"])
    assert result.metrics["status"] == "diverged" and result.metrics["train_error"] == 90.0


def test_early_stopping_returns_to_the_lowest_validation_error(digits):
    whole = trained(digits, epochs=12, learning_rate=0.2, schedule="constant")
    errors = [row["validation_error"] for row in whole.history]
    best = errors.index(min(errors))
    stopped = trained(digits, epochs=12, learning_rate=0.2, schedule="constant", patience=3)
    end = next((e for e in range(12) if e - errors[: e + 1].index(min(errors[: e + 1])) >= 3), 11)
    best_until = errors.index(min(errors[: end + 1]))
    assert end < 11 or best < 11  # or nothing was stopped or undone
    assert stopped.metrics["epochs_trained"] == len(stopped.history) == end + 1
    assert stopped.metrics["measured_epoch"] == best_until + 1
    assert stopped.metrics["validation_error"] == errors[best_until]
    assert whole.metrics["measured_epoch"] == whole.metrics["epochs_trained"] == 12


def test_random_labels_are_drawn_once_from_the_seed_and_only_for_training(digits):
    split = evaluation.Split.of(digits.train, digits, CPU)
    none, half, again, other, all_of_them = (
        split.relabelled(part, 10, stream(seed, "labels")).labels
        for part, seed in ((0.0, 0), (0.5, 0), (0.5, 0), (0.5, 1), (1.0, 0))
    )
    assert torch.equal(none, split.labels) and torch.equal(half, again) and not torch.equal(half, other)
    assert (half != split.labels).sum() <= 96
    assert 0.35 < (half != split.labels).float().mean() < 0.5  # one of ten draws is the true label
    assert 0.8 < (all_of_them != split.labels).float().mean() < 0.97
    fitted = trained(digits, epochs=30, random_labels=1.0, crop_padding=0, flip=False, learning_rate=0.1)
    assert fitted.metrics["train_error"] < 80  # by heart: with the true labels it would be guessing, 90 %
    assert fitted.metrics["test_error"] > 75


def test_a_pass_over_the_training_set_gives_its_mean_and_variance(digits):
    net = engine.build(ResNet(depth=8), digits.shape, 10)
    split = evaluation.Split.of(digits.train, digits, CPU)
    before = {name: p.clone() for name, p in net.named_parameters()}
    evaluation.average_statistics(net, split, RECIPE.model_copy(update={"batch_size": 192}))
    out = net[0](split.images(slice(None)))
    torch.testing.assert_close(net[1][0].running_mean, out.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net[1][0].running_var, out.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    evaluation.average_statistics(net, split, RECIPE)  # three batches of 64: the mean of their statistics
    batches = out.view(3, 64, *out.shape[1:])
    torch.testing.assert_close(net[1][0].running_var, batches.var((1, 3, 4)).mean(0), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert {m.momentum for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}


def test_norm_statistics_change_the_metrics_and_not_the_training(digits):
    running, passed = (trained(digits, norm_statistics=kind) for kind in ("running", "pass"))
    for row, other in zip(running.history, passed.history, strict=True):
        assert row["train_loss"] == other["train_loss"]
    assert running.metrics["test_loss"] != passed.metrics["test_loss"]


def test_sparsity_counts_weights_of_convolutions_and_linear_layers(digits):
    net = engine.build(ResNet(depth=8), digits.shape, 10)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.weight.fill_(0.5)
        net[-1].weight[0].fill_(0.004)  # below a hundredth of the others
    convolutions = sum(m.weight.numel() for m in net.modules() if isinstance(m, torch.nn.Conv2d))
    assert evaluation.sparsity(net) == pytest.approx(100 * 64 / (convolutions + 640))


def test_a_batch_larger_than_the_data_is_refused(digits):
    with pytest.raises(UserError, match="batch_size 500 is more than the 192 training images"):
        trained(digits, batch_size=500)


def test_evaluation_does_not_depend_on_its_batches(digits, monkeypatch):
    net = engine.build(ResNet(depth=8), digits.shape, 10)
    split = evaluation.Split.of(digits.test, digits, CPU)
    whole = evaluation.evaluate(net, split, RECIPE).tolist()
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 7)
    assert evaluation.evaluate(net, split, RECIPE).tolist() == pytest.approx(whole, rel=1e-5)


def test_images_are_normalised_with_the_training_statistics(digits):
    split = evaluation.Split.of(digits.train, digits, CPU)
    images = split.images(slice(None))
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std().item() == pytest.approx(1, abs=1e-3)


def test_bf16_trains_and_differs(digits):
    plain, half = trained(digits), trained(digits, precision="bf16")
    assert half.metrics["status"] == "finished"
    assert half.history[-1]["train_loss"] == pytest.approx(plain.history[-1]["train_loss"], rel=0.3)
    assert half.history != plain.history


# ------------------------------------------------------------------------------------------ the store


def header(data):
    return Header(data.fingerprint, {"train": 192, "validation": 60, "test": 100}, data.shape, 10)


def test_a_finished_run_is_not_trained_again(digits, tmp_path, capsys):
    store, arm = Store(tmp_path), make_run(digits).arm
    train_arm(arm, [0, 1], Splits.of(digits, CPU), store)
    first = store.rows(arm, [0, 1, 2], header(digits))
    assert [row["seed"] for row in first] == [0, 1]
    assert "cached" not in capsys.readouterr().out
    train_arm(arm, [0, 1, 2], Splits.of(digits, CPU), store)
    assert capsys.readouterr().out.count("cached") == 2
    again = store.rows(arm, [0, 1, 2], header(digits))
    assert again[:2] == first and len(again) == 3
    files = {path.name for path in store.path(make_run(digits)).iterdir()}
    assert files == {
        "config.json",
        "environment.json",
        "history.csv",
        "metrics.json",
        "weights.safetensors",
        "SHA256SUMS",
    }


def test_a_run_without_its_sums_is_not_finished(digits, tmp_path):
    store, run = Store(tmp_path), make_run(digits)
    train_arm(run.arm, [0], Splits.of(digits, CPU), store)
    (store.path(run) / "SHA256SUMS").unlink()
    assert store.metrics(run) is None


def test_a_changed_default_does_not_pass_for_the_old_run(digits, tmp_path):
    store, run = Store(tmp_path), make_run(digits)
    train_arm(run.arm, [0], Splits.of(digits, CPU), store)
    config = store.path(run) / "config.json"
    config.write_text(config.read_text().replace('"momentum": 0.9', '"momentum": 0.8'))
    sums = store.path(run) / "SHA256SUMS"
    digest = hashlib.sha256(config.read_bytes()).hexdigest()
    sums.write_text(re.sub(r"\w+(?=  config)", digest, sums.read_text()))
    with pytest.raises(UserError, match=r"recipe.momentum = 0.8, now 0.9 is asked for"):
        store.metrics(run)


def test_weights_give_the_measured_error(digits, tmp_path):
    from safetensors.torch import load_file

    store, run = Store(tmp_path), make_run(digits)
    train_arm(run.arm, [0], Splits.of(digits, CPU), store)
    (row,) = store.rows(run.arm, [0], header(digits))
    net = engine.build(run.arm.model, digits.shape, 10).to(memory_format=torch.channels_last)
    net.load_state_dict(load_file(store.path(run) / "weights.safetensors"))
    assert (
        evaluation.evaluate(net, evaluation.Split.of(digits.test, digits, CPU), run.arm.recipe)[1].item()
        == row["test_error"]
    )


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda" if not torch.cuda.is_available() else "cuda:x"])
def test_wrong_devices_are_named(name):
    with pytest.raises(UserError, match=name):
        use(name, 1)


START_UP = """
import sys
from pathlib import Path
import torch
from ablations.config import Dataset, Recipe
from ablations.networks import ResNet
from ablations.data import read
from ablations.plan import Arm
from ablations.store import Store
from ablations.training.evaluation import Splits
from ablations.training.job import train_arm
data = read(Path(sys.argv[1]) / "digits")
recipe = Recipe(epochs=1, batch_size=64, learning_rate=0.05)
arm = Arm(ResNet(depth=8), recipe, Dataset(title="d", source="digits", validation=60), "d")
train_arm(arm, [0], Splits.of(data, torch.device("cpu")), Store(Path(sys.argv[1])))
heavy = {"torch._dynamo", "torch._inductor", "torchvision", "timm", "sklearn", "pandas", "fvcore"}
print("imported:", *heavy & set(sys.modules))
"""


def test_a_training_job_imports_neither_compiler_nor_torchvision(tmp_path):
    prepare(DATASET, tmp_path / "digits")
    done = subprocess.run(
        [sys.executable, "-c", START_UP, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1].strip() == "imported:"
