from __future__ import annotations

import hashlib
import io
import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import CIFAR10_JPEG
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ablations.config import Dataset, Library
from ablations.data import SPLITS, Images, prepare, read, read_header
from ablations.errors import UserError

DIGITS = Dataset(title="digits", source="digits", train=100, validation=50, test=60)


@pytest.fixture
def digits_file(tmp_path):
    path = tmp_path / "digits.safetensors"
    prepare(DIGITS, path)
    return path


def test_the_digits_of_the_package_are_what_the_design_says(tmp_path):
    sizes = {
        name: tuple(
            len(getattr(prepare(Library().dataset(name), tmp_path / name), split)) for split in SPLITS
        )
        for name in ("digits", "digits-noisy")
    }
    assert sizes == {"digits": (1257, 180, 360), "digits-noisy": (640, 180, 977)}


def test_what_is_written_is_what_is_read(tmp_path):
    path = tmp_path / "digits.safetensors"
    made, got = prepare(DIGITS, path), read(path)
    assert made.fingerprint == got.fingerprint == read_header(path).fingerprint
    for split in SPLITS:
        assert np.array_equal(getattr(made, split).images, getattr(got, split).images)
        assert np.array_equal(getattr(made, split).labels, getattr(got, split).labels)
    assert got.shape == (1, 8, 8) and got.train.images.dtype == np.uint8
    assert np.isclose(got.mean[0], got.train.images.mean() / 255) and np.isclose(
        got.std[0], got.train.images.std() / 255
    )


def test_the_header_says_what_the_file_holds(digits_file):
    header, whole = read_header(digits_file), read(digits_file)
    assert header.sizes == {split: len(getattr(whole, split)) for split in SPLITS}
    assert (header.shape, header.classes) == (whole.shape, len(whole.classes))


def test_a_changed_digit_of_the_statistics_is_noticed(digits_file):
    raw = digits_file.read_bytes()
    mean = str(read(digits_file).mean[0]).encode()
    digits_file.write_bytes(raw.replace(mean, mean[:-1] + (b"1" if mean[-1:] != b"1" else b"2")))
    with pytest.raises(UserError, match="does not match its fingerprint"):
        read(digits_file)


def test_preparing_twice_gives_the_same_fingerprint(tmp_path):
    assert prepare(DIGITS, tmp_path / "a").fingerprint == prepare(DIGITS, tmp_path / "b").fingerprint


@settings(max_examples=10, deadline=None)
@given(st.integers(20, 500), st.integers(20, 500), st.integers(20, 500))
def test_splits_are_stratified_and_share_no_image(tmp_path_factory, train, validation, test):
    dataset = Dataset(title="d", source="digits", train=train, validation=validation, test=test)
    prepared = prepare(dataset, tmp_path_factory.mktemp("data") / "d")
    rows = [row.tobytes() for split in SPLITS for row in getattr(prepared, split).images]
    assert len(rows) == train + validation + test
    assert len(set(rows)) == len(rows)  # no two of the 1,797 scans are equal
    for split in SPLITS:
        counts = np.bincount(getattr(prepared, split).labels, minlength=10)
        assert counts.max() - counts.min() <= 2 + 0.02 * counts.sum()


def test_noise_belongs_to_the_data_and_has_the_stated_size(tmp_path):
    clean = prepare(DIGITS, tmp_path / "clean")
    noisy = prepare(DIGITS.model_copy(update={"noise": 1.0}), tmp_path / "noisy")
    assert (
        noisy.fingerprint == prepare(DIGITS.model_copy(update={"noise": 1.0}), tmp_path / "again").fingerprint
    )
    deviation = clean.train.images.std()
    scale = 255 / (255 + 6 * deviation)  # the grey scale was compressed to make room
    difference = noisy.train.images / scale - 3 * deviation - clean.train.images
    assert abs(difference.mean()) < 0.05 * deviation
    assert np.isclose(difference.std(), deviation, rtol=0.05)


@pytest.mark.parametrize("where", [0.02, 0.5, 0.999])
def test_a_flipped_bit_is_noticed(digits_file, where):
    raw = bytearray(digits_file.read_bytes())
    raw[int(where * len(raw))] ^= 1
    digits_file.write_bytes(raw)
    with pytest.raises(UserError, match=r"digits.safetensors: damaged .*delete it"):
        read(digits_file)


@pytest.mark.parametrize("length", [0, 5, 500, -1])
def test_a_truncated_file_is_noticed(digits_file, length):
    digits_file.write_bytes(digits_file.read_bytes()[:length])
    with pytest.raises(UserError, match="damaged"):
        read(digits_file)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="ablations prepare"):
        read(tmp_path / "none")
    assert read_header(tmp_path / "none") is None


@pytest.mark.parametrize("field", [{"train": 2000}, {"validation": 3}, {"test": 1797}])
def test_impossible_splits_say_what_is_possible(tmp_path, field):
    with pytest.raises(UserError, match=r"images asked for, .* are there"):
        prepare(DIGITS.model_copy(update=field), tmp_path / "x")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------ Parquet


def parquet(folder, name, images, labels, names=None, column="img", form="PNG"):
    encoded = []
    for image in images:
        if isinstance(image, bytes):
            encoded.append({"bytes": image, "path": None})
            continue
        file = io.BytesIO()
        Image.fromarray(image).save(file, form)
        encoded.append({"bytes": file.getvalue(), "path": None})
    table = pa.table({column: encoded, "label": labels})
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, folder / f"{name}.parquet")


def pictures(n, seed, size=(6, 5, 3)):
    return np.random.default_rng(seed).integers(0, 256, (n, *size), dtype=np.uint8)


def own(folder):
    return Dataset(title="own", source="parquet", path=str(folder), validation=4)


def test_parquet_in_the_hugging_face_layout(tmp_path):
    train, test = pictures(20, 0), pictures(6, 1)
    parquet(tmp_path, "train-00000", train[:12], [0, 1] * 6, ["cat", "dog"], "image")
    parquet(tmp_path, "train-00001", train[12:], [0, 1] * 4, ["cat", "dog"], "image")
    parquet(tmp_path, "test", test, [0, 1] * 3, ["cat", "dog"], "image")
    prepared = prepare(own(tmp_path), tmp_path / "out")
    assert prepared.classes == ("cat", "dog") and prepared.shape == (3, 6, 5)
    assert np.array_equal(prepared.test.images, test.transpose(0, 3, 1, 2))  # PNG keeps every bit
    kept = {image.tobytes() for split in (prepared.train, prepared.validation) for image in split.images}
    assert kept == {image.transpose(2, 0, 1).tobytes() for image in train}


def test_jpeg_and_grey_images_become_rgb(tmp_path):
    grey = [np.full((8, 8), 12 * i, np.uint8) for i in range(20)]
    parquet(tmp_path, "train", grey, [0, 1] * 10, form="JPEG")
    parquet(tmp_path, "test", grey[:4], [0, 1] * 2, form="JPEG")
    prepared = prepare(own(tmp_path), tmp_path / "out")
    assert prepared.classes == ("0", "1")
    assert np.abs(prepared.test.images[3].astype(int) - 36).max() <= 1


@pytest.mark.parametrize(
    ("images", "column", "told"),
    [
        ([*pictures(19, 0), b"no image"], "img", r"train.parquet: row 19: not an image"),
        ([*pictures(19, 0), b""], "img", r"train.parquet: row 19: not an image"),
        (
            [*pictures(19, 0), *pictures(1, 0, (7, 5, 3))],
            "img",
            r"row 19: image of 5x7 pixels, the first has 5x6",
        ),
        (
            pictures(20, 0),
            "picture",
            r"expected columns `img` \(or `image`\) and `label`, found picture, label",
        ),
    ],
)
def test_bad_parquet_is_named(tmp_path, images, column, told):
    parquet(tmp_path, "train", images, [0, 1] * 10, column=column)
    parquet(tmp_path, "test", pictures(4, 1), [0, 1] * 2)
    with pytest.raises(UserError, match=told):
        prepare(own(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([0, 1] * 9 + [0, None], "1 of them missing"),
        ([0, 1] * 9 + [0, -1], "row 19: label -1; labels count from 0"),
        ([0.0, 1.5] * 10, "expected an integer for every image, found 20 values of type double"),
        (["cat", "dog"] * 10, "of type string"),
    ],
)
def test_bad_labels_are_named(tmp_path, labels, told):
    parquet(tmp_path, "train", pictures(20, 0), labels)
    parquet(tmp_path, "test", pictures(4, 1), [0, 1] * 2)
    with pytest.raises(UserError, match=told):
        prepare(own(tmp_path), tmp_path / "out")


def test_images_without_a_struct_and_sizes_that_differ_between_files(tmp_path):
    parquet(tmp_path, "train", pictures(20, 0), [0, 1] * 10)
    pq.write_table(pa.table({"img": [b"x"] * 4, "label": [0, 1] * 2}), tmp_path / "test.parquet")
    with pytest.raises(
        UserError, match=r"test.parquet: column `img`: expected \{bytes, path\}, found binary"
    ):
        prepare(own(tmp_path), tmp_path / "out")
    parquet(tmp_path, "test", pictures(4, 1, (7, 5, 3)), [0, 1] * 2)
    with pytest.raises(UserError, match="images of different sizes"):
        prepare(own(tmp_path), tmp_path / "out")


def test_a_file_that_is_no_parquet(tmp_path):
    (tmp_path / "train.parquet").write_text("hello")
    with pytest.raises(UserError, match=r"train.parquet: not a readable Parquet file"):
        prepare(own(tmp_path), tmp_path / "out")
    with pytest.raises(UserError, match=r"no train\*.parquet here"):
        prepare(own(tmp_path / "nowhere"), tmp_path / "out")


@pytest.mark.skipif(not CIFAR10_JPEG.is_dir(), reason=f"no CIFAR-10 (JPEG) files in {CIFAR10_JPEG}")
def test_cifar10_jpeg(tmp_path):
    dataset = Dataset(
        title="c", source="parquet", path=str(CIFAR10_JPEG), train=1000, validation=500, test=300
    )
    prepared = prepare(dataset, tmp_path / "out")
    assert prepared.shape == (3, 32, 32) and prepared.classes[:2] == ("airplane", "automobile")
    assert np.bincount(prepared.train.labels).tolist() == [100] * 10
    assert np.allclose(prepared.mean, (0.491, 0.482, 0.447), atol=0.02)


# ------------------------------------------------------------------------------------------ torchvision


def test_cifar10_by_torchvisions_loader(workspace, monkeypatch):
    """Its own file format and checksums, on small files made here: five training batches and a test batch."""
    from torchvision.datasets import CIFAR10

    folder = workspace / "results" / "downloads" / CIFAR10.base_folder
    folder.mkdir(parents=True)

    def put(name, content):
        raw = pickle.dumps(content)
        (folder / name).write_bytes(raw)
        return name, hashlib.md5(raw).hexdigest()

    def batch(seed):
        return {
            "data": np.random.default_rng(seed).integers(0, 256, (40, 3072), dtype=np.uint8),
            "labels": list(range(10)) * 4,
        }

    monkeypatch.setattr(CIFAR10, "train_list", [put(f"data_batch_{i}", batch(i)) for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [put("test_batch", batch(0))])
    name, checksum = put("batches.meta", {"label_names": [f"class {i}" for i in range(10)]})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": checksum})
    dataset = Dataset(title="c", source="cifar10", validation=50)
    prepared = prepare(dataset, workspace / "out")
    assert (len(prepared.train), len(prepared.validation), len(prepared.test)) == (150, 50, 40)
    assert prepared.shape == (3, 32, 32) and prepared.classes[3] == "class 3"
    assert np.array_equal(prepared.test.images.reshape(40, -1), batch(0)["data"])


def test_images_select_rows():
    images = Images(np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2), np.array([5, 6, 7]))
    assert images[np.array([2, 0])].labels.tolist() == [7, 5]
    assert images[np.array([2, 0])].images[0, 0, 0, 0] == 8
