"""A named data set -> one array file with its fingerprint.

The file (safetensors) holds `train`, `validation` and `test` images as uint8 [n, channels, height, width] and
their `..._labels` as int64 [n]; its header holds class names, the mean and standard deviation of the training
part per channel (on the scale 0 to 1), how many images were treated how, and the fingerprint: a SHA-256 over all arrays
and class names.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ablations.config import Dataset
from ablations.errors import UserError
from ablations.files import atomic, told
from ablations.sources import SOURCES, Images, Source

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Prepared:
    """What a prepared file holds."""

    train: Images
    validation: Images
    test: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # of the training images, per channel, scale 0 to 1
    std: tuple[float, ...]
    fingerprint: str
    treated: Mapping[str, int] = field(default_factory=dict)  # images, or files, by what was done to them

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.train.images.shape[1:]


# ------------------------------------------------------------------------------------------ preparing


def prepare(dataset: Dataset, path: Path) -> Prepared:
    """Read the source, split it, add the noise that belongs to it, and write the array file at `path`."""
    source = SOURCES[dataset.source](dataset)
    if len(source.classes) < 2:
        raise UserError(f"data set {dataset.title}: one class only, {told(source.classes[0])}; it takes two")
    train, validation, test = split(source, dataset)
    if dataset.noise:
        train, validation, test = noisy((train, validation, test), dataset.noise)
    mean, std = statistics(train)
    parts = (train, validation, test)
    digest = fingerprint(parts, source.classes, mean, std)
    prepared = Prepared(*parts, source.classes, mean, std, digest, source.treated)
    write(prepared, path)
    return prepared


def split(source: Source, dataset: Dataset) -> tuple[Images, Images, Images]:
    """Train, validation and test, stratified by class, the same at every call, in an order mixed once."""
    rest, test = source.train, source.test
    if test is None:
        if dataset.test is None and dataset.train is None:
            raise UserError(
                f"data set {dataset.title}: it has no test part of its own: give `train` or `test`"
            )
        rest, test = part(
            rest, dataset.test or len(rest) - dataset.train - dataset.validation, dataset, "test"
        )
    elif dataset.test is not None and dataset.test != len(test):
        _, test = part(test, dataset.test, dataset, "test")
    rest, validation = part(rest, dataset.validation, dataset, "validation")
    if dataset.train is not None and dataset.train != len(rest):
        _, rest = part(rest, dataset.train, dataset, "train")
    return rest, validation, test


def part(images: Images, count: int, dataset: Dataset, name: str) -> tuple[Images, Images]:
    """The images without, and those with, `count` of them drawn evenly from the classes."""
    from sklearn.model_selection import train_test_split

    counts = np.bincount(images.labels)
    classes = np.count_nonzero(counts)
    if not classes <= count <= len(images) - classes:
        raise UserError(
            f"data set {dataset.title}: `{name}`: {count} images asked for, {len(images)} are there to draw from; "
            f"an even draw takes {classes} (one a class) to {len(images) - classes}"
        )
    if 1 in counts:
        raise UserError(
            f"data set {dataset.title}: `{name}`: the class of label {counts.tolist().index(1)} has one image to draw "
            "from; an even draw takes two"
        )
    rest, drawn = train_test_split(
        np.arange(len(images)), test_size=count, stratify=images.labels, random_state=0
    )
    return images[rest], images[drawn]


def noisy(parts: tuple[Images, ...], noise: float) -> list[Images]:
    """Gaussian noise of `noise` standard deviations of the training pixels, from a fixed seed. The grey scale
    is compressed so that three standard deviations of noise fit on either side."""
    random = np.random.default_rng(0)
    deviation = noise * parts[0].images.std()
    low, high = -3 * deviation, 255 + 3 * deviation
    result = []
    for each in parts:
        shifted = each.images + deviation * random.standard_normal(each.images.shape)
        scaled = np.clip((shifted - low) * (255 / (high - low)), 0, 255)
        result.append(Images(np.round(scaled).astype(np.uint8), each.labels))
    return result


# ------------------------------------------------------------------------------------------ the file


def statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel on the scale 0 to 1, from whole-number counts of the 256
    values: the same to the last bit on every machine."""
    values = np.arange(256)
    mean, std = [], []
    for channel in range(images.images.shape[1]):
        counts = np.bincount(images.images[:, channel].ravel(), minlength=256)
        n, total, squares = (int((counts * values**power).sum()) for power in (0, 1, 2))
        mean.append(total / n / 255)
        std.append(math.sqrt(n * squares - total**2) / n / 255)
    return tuple(mean), tuple(std)


def fingerprint(
    parts: tuple[Images, ...], classes: tuple[str, ...], mean: tuple[float, ...], std: tuple[float, ...]
) -> str:
    """SHA-256 over every array (name, type, shape, bytes), the class names, mean and standard deviation."""
    digest = hashlib.sha256(json.dumps([classes, mean, std]).encode())
    for name, each in zip(SPLITS, parts, strict=True):
        for array in (each.images, each.labels):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def write(prepared: Prepared, path: Path) -> None:
    """Write a prepared file, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {}
    for name in SPLITS:
        each: Images = getattr(prepared, name)
        arrays |= {name: np.ascontiguousarray(each.images), f"{name}_labels": each.labels}
    header = {
        "classes": prepared.classes,
        "mean": prepared.mean,
        "std": prepared.std,
        "fingerprint": prepared.fingerprint,
        "treated": prepared.treated,
    }
    with atomic(path) as temporary:
        try:
            save_file(arrays, temporary, metadata={key: json.dumps(value) for key, value in header.items()})
        except SafetensorError as error:
            raise UserError(f"{path}: could not be written: {error}") from None


def read(path: Path) -> Prepared:
    """A prepared file, verified against its fingerprint; its images stay in the file, which is mapped to memory.
    UserError where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = {key: json.loads(value) for key, value in file.metadata().items()}
            parts = tuple(Images(mapped(path, name), file.get_tensor(f"{name}_labels")) for name in SPLITS)
        classes, mean, std = (tuple(header[key]) for key in ("classes", "mean", "std"))
        stated = header["fingerprint"]
    except FileNotFoundError:
        raise UserError(f"{path}: no prepared data here; make it with: ablations prepare") from None
    except (SafetensorError, AttributeError, KeyError, ValueError) as error:
        raise damaged(path, str(error)) from None
    if fingerprint(parts, classes, mean, std) != stated:
        raise damaged(path, "its content does not match its fingerprint")
    return Prepared(*parts, classes, mean, std, stated, header.get("treated", {}))


def mapped(path: Path, name: str) -> np.ndarray:
    """A uint8 array of a safetensors file where it lies in the file, copied on write. (The library's own numpy
    interface reads it into memory; its torch interface maps it, and torch takes seconds to import.)"""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    return np.memmap(path, np.uint8, "c", 8 + length + entry["data_offsets"][0], tuple(entry["shape"]))


@dataclass(frozen=True)
class Header:
    """What a prepared file says of itself, unverified: its fingerprint, the number of images of each part, the
    shape of an image (channels, height, width), the number of classes, and how many images were treated how."""

    fingerprint: str
    sizes: dict[str, int]
    shape: tuple[int, int, int]
    classes: int
    treated: Mapping[str, int] = field(default_factory=dict)


def read_header(path: Path) -> Header | None:
    """The header of a prepared file; None where there is no such file yet. UserError where it is damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            header = {key: json.loads(value) for key, value in file.metadata().items()}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in SPLITS}
        sizes = {name: shape[0] for name, shape in shapes.items()}
        shape, classes, treated = shapes["train"][1:], len(header["classes"]), header.get("treated", {})
        return Header(header["fingerprint"], sizes, shape, classes, treated)
    except (SafetensorError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise damaged(path, str(error)) from None


def in_words(treated: Mapping[str, int]) -> str:
    """How many images, or files, were treated how; empty where none was."""
    return ", ".join(f"{count:,} {what}" for what, count in treated.items())


def damaged(path: Path, why: str) -> UserError:
    """What is said of a prepared file that cannot be used."""
    return UserError(f"{path}: damaged ({why}); delete it and run the command again: it is made anew")
