"""Images a second of the training engine beside the loop that most repositories ship, on the same machine and
images: ResNet-20 on 32x32 pixels, batches of 128, random crops and flips."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ablations.config import Dataset, Recipe
from ablations.data import Images, Prepared
from ablations.models import build
from ablations.networks import ResNet
from ablations.plan import Arm, Run
from ablations.training.device import use
from ablations.training.engine import course, denormals_as_zero
from ablations.training.evaluation import Splits
from ablations.training.lane import side_by_side

MODEL = ResNet(depth=20)
BATCH = 128
RECIPE = Recipe(epochs=2, batch_size=BATCH, learning_rate=0.1, crop_padding=4, flip=True)
DATASET = Dataset(title="random images", source="cifar10", validation=BATCH)


@dataclass(frozen=True)
class Speed:
    """Training images a second of a way to train: the median over repeats, the least and the most."""

    name: str
    median: float
    least: float
    most: float
    ratio: float  # of the median to that of the first way


def random_images(batches: int) -> Prepared:
    """Images of CIFAR-10's shape; what they show does not change the speed."""
    chance = np.random.default_rng(0)

    def part(n: int) -> Images:
        return Images(chance.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), chance.integers(0, 10, n))

    parts = (part(batches * BATCH), part(BATCH), part(BATCH))
    return Prepared(*parts, tuple("0123456789"), (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), "random")


def compare(
    batches: int, repeats: int, device: torch.device, tell: Callable[[str], None] = lambda line: None
) -> list[Speed]:
    """The speeds of all ways to train, measured in turn `repeats` times over `batches` batches each, after an
    epoch that does not count."""
    data = random_images(batches)
    ways: dict[str, Callable[[], float]] = {
        f"usual loop, DataLoader with {workers} workers": partial(usual_loop, data, workers, device)
        for workers in (2, 4)
    }
    for precision in ("fp32", "bf16"):
        ways[f"this engine, {precision}"] = partial(engine, batches, precision, device)
    with contextlib.ExitStack() as stack:
        if device.type == "cuda":
            ways["this engine, bf16, compiled"] = partial(engine, batches, "bf16", device, compile=True)
            for seeds in (2, 4, 8):
                name = f"this engine, bf16, {seeds} seeds at once"
                ways[name] = partial(engine, batches, "bf16", device, seeds)
        together = (2, 4, 8) if device.type == "cuda" else (torch.get_num_threads(),)
        for count in together:
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(count, context, meet_at, (context.Barrier(count),))
            stack.enter_context(pool)
            for precision in ("bf16",) if device.type == "cuda" else ("fp32", "bf16"):
                name = f"this engine, {precision}, {count} runs of one thread"
                ways[name] = partial(processes, pool, count, batches, precision, device)
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in range(repeats):
            for name, way in ways.items():
                speeds[name].append(way())
                tell(f"repeat {repeat + 1} of {repeats}: {name}: {speeds[name][-1]:,.0f} images/s")
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    first = next(iter(medians.values()))
    return [
        Speed(name, medians[name], min(values), max(values), medians[name] / first)
        for name, values in speeds.items()
    ]


def engine(
    batches: int,
    precision: str,
    device: torch.device,
    seeds: int = 1,
    compile: bool = False,
    after_epoch: Callable[[dict[str, float]], object] = lambda row: None,
) -> float:
    """Images a second in the last epoch, of all seeds that train at once."""
    data = random_images(batches)
    recipe = RECIPE.model_copy(update={"precision": precision, "compile": compile})
    arm, splits = Arm(MODEL, recipe, DATASET, "random"), Splits.of(data, device)
    courses = (course(Run(arm, seed, "random"), splits, after_epoch) for seed in range(seeds))
    with denormals_as_zero():
        trained = side_by_side(courses, device, seeds)
    return sum(each.history[-1]["images_per_second"] for each in trained)


def processes(
    pool: ProcessPoolExecutor, count: int, batches: int, precision: str, device: torch.device
) -> float:
    """The same of as many processes at a time, each with a run and one thread of its own."""
    return sum(pool.map(alone, *([value] * count for value in (batches, precision, str(device)))))


# In a process of a pool: where all of them wait for each other, so that they train at the same time.
meeting: threading.Barrier


def meet_at(barrier: threading.Barrier) -> None:
    """Set the meeting point of a process of a pool."""
    global meeting
    meeting = barrier


def alone(batches: int, precision: str, device: str) -> float:
    """The speed of the engine in a process of the pool, from the moment at which all have trained an epoch."""

    def wait(row: dict[str, float]) -> None:
        if row["epoch"] < RECIPE.epochs:
            meeting.wait(timeout=600)  # seconds; else one that fails would hold up the others for ever

    return engine(batches, precision, use(device, 1), after_epoch=wait)


def usual_loop(data: Prepared, workers: int, device: torch.device) -> float:
    """The same of a loop over torchvision's transforms of single PIL images and a DataLoader, the loss read at every
    step."""
    from torch.utils.data import DataLoader

    torch.set_deterministic_debug_mode("default")  # the engine has set it
    loader = DataLoader(
        PILImages(data), BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True
    )
    net = build(MODEL, data.shape, len(data.classes)).to(device)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for _ in range(RECIPE.epochs):
        started, images, total = time.perf_counter(), 0, 0.0
        for batch in batches_of(loader, device):
            loss = step(net, optimiser, *batch)
            total += loss.item()
            images += len(batch[0])
        seconds = time.perf_counter() - started
    return images / seconds


def batches_of(loader: torch.utils.data.DataLoader, device: torch.device) -> Iterator[list[torch.Tensor]]:
    """The loader's batches on the device."""
    for batch in loader:
        yield [part.to(device) for part in batch]


def step(
    net: nn.Module, optimiser: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """One step in fp32. The loss."""
    net.train()
    optimiser.zero_grad()
    loss = F.cross_entropy(net(images), labels)
    loss.backward()
    optimiser.step()
    return loss


class PILImages(torch.utils.data.Dataset):
    """A data set as torchvision's CIFAR10 is one: a PIL image out of an array, transformed, at every access."""

    def __init__(self, data: Prepared):
        from torchvision import transforms

        self.images = data.train.images.transpose(0, 2, 3, 1)
        self.labels = data.train.labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def markdown(speeds: list[Speed], where: dict[str, object]) -> str:
    """The speeds as a table, with the machine and versions they were measured on."""
    lines = [
        "| ResNet-20, 32x32, batch 128 | images/s (median) | least to most | ratio |",
        "|:---|---:|---:|---:|",
        *(
            f"| {s.name} | {s.median:,.0f} | {s.least:,.0f} to {s.most:,.0f} | {s.ratio:.2f} |"
            for s in speeds
        ),
        "",
        f"{where['device']}, {where['threads']} threads, torch {where['torch']}, Python {where['python']}.",
    ]
    return "\n".join(lines)
