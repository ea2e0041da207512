"""Data sets as they are published, or as they lie on disk."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ablations import folders
from ablations.config import Dataset
from ablations.decoding import FILE_BYTES, Decoded, check_memory, decode_all
from ablations.errors import UserError
from ablations.files import readable, told

if TYPE_CHECKING:
    import pyarrow.parquet as pq


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
class Source:
    """A data set as published; `test` is None where it comes in one piece. `treated` counts images, or files, by what
    was done to them."""

    train: Images
    test: Images | None
    classes: tuple[str, ...]
    treated: Mapping[str, int] = field(default_factory=dict)


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


# ------------------------------------------------------------------------------------------ image folders


def folder(dataset: Dataset) -> Source:
    """A folder, or an archive of one, with a folder of images for each class. Classes and images are taken in the order
    of their names, whatever the order on disk."""
    found = folders.survey(Path(dataset.path))
    position = {inside: number for number, inside in enumerate(found.images.values())}
    in_test = np.array([len(parts) == 3 and parts[0] == "test" for parts in found.images])
    names = [parts[-2] for parts in found.images]
    classes = sorted({name for name, test in zip(names, in_test, strict=True) if not test})
    if unknown := set(names) - set(classes):
        raise UserError(f"{dataset.path}: class {told(min(unknown))} is in test/, but not in train/")
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number[name] for name in names], np.int64)
    contents = found.container.contents(position)
    encoded = ((position[inside], f"{dataset.path}: {told(inside)}", content) for inside, content in contents)
    decoded = decode_all(encoded, len(labels), dataset)
    treated = dict(sorted((decoded.treated + found.left_out).items()))
    test, train = in_two(decoded, labels, np.count_nonzero(in_test))  # sorted, test comes before train
    return Source(train, test if in_test.any() else None, tuple(classes), treated)


def in_two(decoded: Decoded, labels: np.ndarray, count: int) -> tuple[Images, Images]:
    """What was decoded of the first `count` images, and of those behind, with their labels."""
    middle, labels = np.count_nonzero(decoded.kept[:count]), labels[decoded.kept]
    return tuple(Images(decoded.images[part], labels[part]) for part in (slice(middle), slice(middle, None)))


# ------------------------------------------------------------------------------------------ Parquet


ROWS = 16  # that are read at a time, at most


@dataclass(frozen=True)
class Table:
    """A Parquet file: the name of its column of images, its labels (int64 [n]) and, where it says them, class names."""

    file: Path
    column: str
    labels: np.ndarray
    classes: tuple[str, ...] | None

    def rows(self) -> Iterator[tuple[str, bytes | None]]:
        """Name for messages, and encoded image, of each row. What its `path` says is not opened. UserError where the
        file cannot be read."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with readable(self.file, "Parquet file"), pq.ParquetFile(self.file) as opened:
            batches = opened.iter_batches(rows_at_a_time(opened), columns=[f"{self.column}.bytes"])
            values = (value for b in batches for value in pa.compute.struct_field(b.column(0), "bytes"))
            for row, value in zip(range(len(self.labels)), values, strict=True):
                yield f"{self.file}: row {row}", value.as_py()


def rows_at_a_time(opened: pq.ParquetFile) -> int:
    """How many rows of a Parquet file to read at a time: a value that stands in its dictionary once is copied for each
    row that has it, and can be as large as all of its column in a row group."""
    groups = (opened.metadata.row_group(number) for number in range(opened.num_row_groups))
    columns = (group.column(number) for group in groups for number in range(group.num_columns))
    largest = max((column.total_uncompressed_size for column in columns), default=0)
    return max(1, min(ROWS, FILE_BYTES // max(1, largest)))


def parquet(dataset: Dataset) -> Source:
    """Files `train*.parquet` and `test*.parquet` in the Hugging Face layout: an image column of `{bytes, path}` with
    encoded images (JPEG, PNG, ...), and an integer column `label`."""
    where = Path(dataset.path)
    parts = []
    for split in ("train", "test"):
        files = sorted(where.glob(f"{split}*.parquet"))
        if not files:
            raise UserError(f"{where}: no {split}*.parquet here")
        parts.append([read_table(file, dataset) for file in files])
    tables = [*parts[0], *parts[1]]
    labels = np.concatenate([table.labels for table in tables])
    classes = class_names(where, tables, labels)
    rows = itertools.chain.from_iterable(table.rows() for table in tables)
    encoded = ((position, name, content) for position, (name, content) in enumerate(rows))
    decoded = decode_all(encoded, len(labels), dataset)
    train, test = in_two(decoded, labels, sum(len(table.labels) for table in parts[0]))
    return Source(train, test, classes, dict(sorted(decoded.treated.items())))


def read_table(file: Path, dataset: Dataset) -> Table:
    """Labels and class names of a Parquet file. UserError where it is none, or has other columns or labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        raise UserError(f"{file}: expected a file")
    with readable(file, "Parquet file"), pq.ParquetFile(file) as opened:
        check_memory(dataset, opened.metadata.num_rows, 1, 1)  # labels take as much as images of one pixel
        schema = opened.schema_arrow
        column = next((name for name in ("img", "image") if schema.get_field_index(name) >= 0), None)
        if column is None or schema.get_field_index("label") < 0:
            found = told(", ".join(schema.names))
            raise UserError(f"{file}: expected columns `img` (or `image`) and `label`, found {found}")
        kind = schema.field(column).type
        encoded = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and kind.field("bytes").type
        if not encoded or not (pa.types.is_binary(encoded) or pa.types.is_large_binary(encoded)):
            raise UserError(f"{file}: column `{column}`: expected {{bytes, path}}, found {told(str(kind))}")
        labels = opened.read(columns=["label"])["label"]
        names = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    if not pa.types.is_integer(labels.type) or labels.null_count or not len(labels):
        found = f"{len(labels)} values of type {labels.type}, {labels.null_count} of them missing"
        raise UserError(f"{file}: column `label`: expected an integer for every image, found {told(found)}")
    labels = labels.to_numpy()
    if labels.min() < 0:
        raise UserError(f"{file}: row {labels.argmin()}: label {labels.min()}; labels count from 0")
    if labels.max() > np.iinfo(np.int32).max:
        raise UserError(f"{file}: row {labels.argmax()}: label {labels.max()}; labels count from 0")
    for key in ("info", "features", "label", "names"):
        names = names.get(key) if isinstance(names, dict) else None
    if names and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise UserError(f"{file}: names of classes: expected a list of words, found {told(str(names))}")
    return Table(file, column, labels.astype(np.int64), tuple(names) if names else None)


def class_names(where: Path, tables: list[Table], labels: np.ndarray) -> tuple[str, ...]:
    """The names that the files give the classes, their numbers where they give none. UserError where files disagree, or
    where a label has no name."""
    named = [table for table in tables if table.classes]
    if other := [table for table in named if table.classes != named[0].classes]:
        raise UserError(f"{named[0].file} and {other[0].file} name different classes, or in another order")
    count = 1 + int(labels.max())
    if named and count > len(named[0].classes):
        raise UserError(
            f"{where}: label {count - 1} found, but the file names {len(named[0].classes)} classes only"
        )
    if not named and count > len(labels):
        raise UserError(f"{where}: label {count - 1} found among {len(labels)} images; labels count from 0")
    return named[0].classes if named else tuple(map(str, range(count)))


SOURCES: dict[str, Callable[[Dataset], Source]] = {
    "digits": digits,
    "cifar10": cifar,
    "cifar100": cifar,
    "parquet": parquet,
    "folder": folder,
}
