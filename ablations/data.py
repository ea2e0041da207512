"""A named data set -> one array file with its fingerprint.

The file (safetensors) holds `train`, `validation` and `test` images as uint8 [n, channels, height, width] and
their `..._labels` as int64 [n]; its header holds class names, the mean and standard deviation of the training
part per channel (on the scale 0 to 1) and the fingerprint: a SHA-256 over all arrays and class names.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ablations.config import Dataset
from ablations.errors import UserError
from ablations.files import atomic

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Images:
    """Labelled images: uint8 [n, channels, height, width] and int64 [n]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: np.ndarray) -> Images:
        return Images(np.ascontiguousarray(self.images[index]), self.labels[index])


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

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.train.images.shape[1:]


@dataclass(frozen=True)
class Source:
    """A data set as published; `test` is None where it comes in one piece."""

    train: Images
    test: Images | None
    classes: tuple[str, ...]


# ------------------------------------------------------------------------------------------ sources


def digits(dataset: Dataset) -> Source:
    """1,797 scanned digits, 8x8, 17 grey levels, packed with scikit-learn."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.round(raw.images * (255 / 16)).astype(np.uint8)[:, None]
    return Source(Images(images, raw.target.astype(np.int64)), None, tuple(map(str, raw.target_names)))


def cifar(dataset: Dataset) -> Source:
    """CIFAR-10 and CIFAR-100 by torchvision's loaders: downloaded where missing, checked by checksum."""
    from torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset.source]
    try:
        train, test = (kind("results/downloads", train=train, download=True) for train in (True, False))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"data set {dataset.source} could not be downloaded into results/downloads ({error}). On a machine "
            "without internet access, put the unpacked archive there and run this again."
        ) from None
    parts = (
        Images(part.data.transpose(0, 3, 1, 2), np.array(part.targets, dtype=np.int64))
        for part in (train, test)
    )
    return Source(*parts, tuple(train.classes))


def parquet(dataset: Dataset) -> Source:
    """Files `train*.parquet` and `test*.parquet` in the Hugging Face layout: an image column of
    `{bytes, path}` with encoded images (JPEG, PNG, ...) of one size, and an integer column `label`."""
    folder = Path(dataset.path)
    parts, classes = [], None
    for split in ("train", "test"):
        files = sorted(folder.glob(f"{split}*.parquet"))
        if not files:
            raise UserError(f"{folder}: no {split}*.parquet here")
        read = [read_parquet(file) for file in files]
        classes = classes or read[0][1]
        shapes = {r[0].images.shape[1:] for r in read} | {p.images.shape[1:] for p in parts}
        if len(shapes) > 1:
            raise UserError(f"{folder}: images of different sizes: {', '.join(map(str, sorted(shapes)))}")
        parts.append(
            Images(*(np.concatenate([getattr(r[0], a) for r in read]) for a in ("images", "labels")))
        )
    count = 1 + max(int(part.labels.max()) for part in parts)
    if classes is not None and len(classes) < count:
        raise UserError(f"{folder}: label {count - 1} found, but the file names {len(classes)} classes only")
    return Source(*parts, classes or tuple(map(str, range(count))))


def read_parquet(file: Path) -> tuple[Images, tuple[str, ...] | None]:
    """Images and, where the file says them, class names."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: not a readable Parquet file: {error}") from None
    column = next((name for name in ("img", "image") if name in table.column_names), None)
    if column is None or "label" not in table.column_names:
        raise UserError(
            f"{file}: expected columns `img` (or `image`) and `label`, found {', '.join(table.column_names)}"
        )
    kind, labels = table.schema.field(column).type, table["label"]
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise UserError(f"{file}: column `{column}`: expected {{bytes, path}}, found {kind}")
    if not pa.types.is_integer(labels.type) or labels.null_count or not len(labels):
        found = f"{len(labels)} values of type {labels.type}, {labels.null_count} of them missing"
        raise UserError(f"{file}: column `label`: expected an integer for every image, found {found}")
    labels = labels.to_numpy().astype(np.int64)
    if labels.min() < 0:
        raise UserError(f"{file}: row {labels.argmin()}: label {labels.min()}; labels count from 0")
    images: list[np.ndarray] = []
    for row, encoded in enumerate(pa.compute.struct_field(table[column], "bytes").to_pylist()):
        try:
            images.append(np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")))
        except (OSError, TypeError, ValueError) as error:
            raise UserError(f"{file}: row {row}: not an image: {error}") from None
        if images[-1].shape != images[0].shape:
            raise UserError(
                f"{file}: row {row}: image of {size(images[-1])} pixels, the first has {size(images[0])}"
            )
    features = (
        json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        .get("info", {})
        .get("features", {})
    )
    names = features.get("label", {}).get("names")
    return Images(np.stack(images).transpose(0, 3, 1, 2), labels), tuple(names) if names else None


def size(image: np.ndarray) -> str:
    """Width and height of an image [height, width, channels], for messages."""
    return f"{image.shape[1]}x{image.shape[0]}"


SOURCES: dict[str, Callable[[Dataset], Source]] = {
    "digits": digits,
    "cifar10": cifar,
    "cifar100": cifar,
    "parquet": parquet,
}


# ------------------------------------------------------------------------------------------ preparing


def prepare(dataset: Dataset, path: Path) -> Prepared:
    """Read the source, split it, add the noise that belongs to it, and write the array file at `path`."""
    source = SOURCES[dataset.source](dataset)
    train, validation, test = split(source, dataset)
    if dataset.noise:
        train, validation, test = noisy((train, validation, test), dataset.noise)
    mean, std = statistics(train)
    parts = (train, validation, test)
    prepared = Prepared(*parts, source.classes, mean, std, fingerprint(parts, source.classes, mean, std))
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

    classes = len(np.unique(images.labels))
    if not classes <= count <= len(images) - classes:
        raise UserError(
            f"data set {dataset.title}: `{name}`: {count} images asked for, {len(images)} are there to draw from; "
            f"an even draw takes {classes} (one a class) to {len(images) - classes}"
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
    return Prepared(*parts, classes, mean, std, stated)


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
    shape of an image (channels, height, width) and the number of classes."""

    fingerprint: str
    sizes: dict[str, int]
    shape: tuple[int, int, int]
    classes: int


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
        return Header(header["fingerprint"], sizes, shapes["train"][1:], len(header["classes"]))
    except (SafetensorError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise damaged(path, str(error)) from None


def damaged(path: Path, why: str) -> UserError:
    """What is said of a prepared file that cannot be used."""
    return UserError(f"{path}: damaged ({why}); delete it and run the command again: it is made anew")
