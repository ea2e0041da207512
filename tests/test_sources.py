from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import CIFAR10_JPEG, encoded, examples, no_longer_than, tally
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_decoding import png
from test_folders import ARCHIVES, put

from ablations.config import Dataset
from ablations.data import SPLITS, Prepared, prepare, read, read_header
from ablations.decoding import FILE_BYTES
from ablations.errors import UserError
from ablations.sources import ROWS, Images, rows_at_a_time


def pictures(n, seed, size=(6, 5, 3)):
    return np.random.default_rng(seed).integers(0, 256, (n, *size), dtype=np.uint8)


def test_images_select_rows():
    images = Images(np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2), np.array([5, 6, 7]))
    assert images[np.array([2, 0])].labels.tolist() == [7, 5]
    assert images[np.array([2, 0])].images[0, 0, 0, 0] == 8


# ------------------------------------------------------------------------------------------ image folders


def own_folder(path, **fields):
    return Dataset(title="own", source="folder", path=str(path), **{"validation": 4, "test": 4, **fields})


def pets(count=12, size=(6, 5, 3)):
    return {
        f"{name}/{i:03}.png": encoded(picture)
        for seed, name in enumerate(("dog", "cat"))
        for i, picture in enumerate(pictures(count, seed, size))
    }


def test_a_folder_and_its_archives_prepare_to_the_same(tmp_path):
    files = list(pets().items())
    random.Random(0).shuffle(files)
    made = {
        name: prepare(own_folder(put(dict(files), tmp_path / name)), tmp_path / "out")
        for name in ("folder", *ARCHIVES)
    }
    assert len({each.fingerprint for each in made.values()}) == 1
    prepared = made["folder"]
    assert prepared.classes == ("cat", "dog") and prepared.shape == (3, 6, 5) and prepared.treated == {}
    assert [len(getattr(prepared, split)) for split in SPLITS] == [16, 4, 4]
    wanted = {image.transpose(2, 0, 1).tobytes(): 0 for image in pictures(12, 1)}
    wanted |= {image.transpose(2, 0, 1).tobytes(): 1 for image in pictures(12, 0)}
    for split in SPLITS:
        each = getattr(prepared, split)
        for image, label in zip(each.images, each.labels, strict=True):
            assert wanted.pop(image.tobytes()) == label
    assert not wanted


@pytest.mark.parametrize("kind", ["folder", "x.zip", "x.tar"])
def test_train_and_test_in_folders_of_their_own(tmp_path, kind):
    files = {f"train/{name}": content for name, content in pets().items()}
    tests = dict(zip(("test/cat/a.png", "test/dog/a.png"), map(encoded, pictures(2, 9)), strict=True))
    path = put(files | tests, tmp_path / kind)
    prepared = prepare(own_folder(path, test=None), tmp_path / "out")
    assert [len(getattr(prepared, split)) for split in SPLITS] == [20, 4, 2]
    assert np.array_equal(prepared.test.images, pictures(2, 9).transpose(0, 3, 1, 2))
    assert prepared.test.labels.tolist() == [0, 1]


def test_what_was_treated_is_kept_in_the_file(tmp_path):
    files = pets(150)
    files["cat/000.png"] = encoded(pictures(1, 0, (9, 7))[0])  # grey, another size
    files |= {"dog/001.png": b"damaged", "cat/labels.csv": b"", "cat/.DS_Store": b""}
    prepare(own_folder(put(files, tmp_path / "folder"), size=8), tmp_path / "out")
    treated = {
        "converted to RGB": 1,
        "left out (hidden)": 1,
        "left out (no image ending)": 1,
        "left out (not decodable)": 1,
        "resized": 299,
    }
    assert read(tmp_path / "out").treated == read_header(tmp_path / "out").treated == treated
    assert sum(read_header(tmp_path / "out").sizes.values()) == 299


@pytest.mark.parametrize(
    ("files", "fields", "told"),
    [
        ({"dog/000.png": b"", "dog/001.png": b"x"}, {}, r"dog/000\.png: not an image: empty\. 1 of 24"),
        ({"dog/000.png": encoded(pictures(1, 0, (7, 5, 3))[0])}, {}, r"cat/000\.png has 5x6 .* give `size`"),
        ({}, {"test": None}, "it has no test part of its own: give `train` or `test`"),
        ({}, {"test": 23}, "`test`: 23 images asked for"),
        ({"fox/0.png": encoded(pictures(1, 5)[0])}, {}, "the class of label 2 has one image to draw from"),
        (
            {f"fox/{i}.png": encoded(pictures(1, 5)[0]) for i in (0, 1)},
            {"test": 13},
            "`validation`: the class of label 2 has one",
        ),
    ],
)
def test_a_folder_that_does_not_do_says_why(tmp_path, files, fields, told):
    path = put(pets() | files, tmp_path / "folder")
    with pytest.raises(UserError, match=told):
        prepare(own_folder(path, **fields), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_classes_of_the_test_part_and_one_class_only(tmp_path):
    files = {f"{part}/{name}": content for name, content in pets().items() for part in ("train", "test")}
    path = put(files | {"test/fo\nx/1.png": b""}, tmp_path / "a")
    with pytest.raises(UserError, match=r"class fo\\nx is in test/, but not in train/"):
        prepare(own_folder(path), tmp_path / "out")
    path = put({name: content for name, content in pets().items() if "cat" in name}, tmp_path / "b")
    with pytest.raises(UserError, match="data set own: one class only, cat; it takes two"):
        prepare(own_folder(path), tmp_path / "out")


@pytest.mark.parametrize("kind", ["folder", *ARCHIVES])
def test_a_decompression_bomb_is_refused_by_name(tmp_path, kind):
    path = put(pets() | {"cat/bomb.png": png(60000, 60000)}, tmp_path / kind)
    with pytest.raises(UserError, match=r"cat/bomb\.png: more than 89,478,485 pixels"):
        prepare(own_folder(path, size=8), tmp_path / "out")


# ------------------------------------------------------------------------------------------ Parquet


def test_a_large_value_in_the_dictionary_of_a_parquet_file_is_not_copied_for_many_rows(tmp_path):
    small, large = png(8, 8), png(8, 8) + bytes(20_000_000)
    taken = []
    for name, images in (("small", [small] * 24), ("large", [small] * 12 + [large] * 12)):
        parquet(tmp_path, name, images, [0, 1] * 12)
        taken.append(rows_at_a_time(pq.ParquetFile(tmp_path / f"{name}.parquet")))
    assert taken == [ROWS, FILE_BYTES // 20_000_000]


def parquet(folder, name, images, labels, names=None, column="img", form="PNG"):
    contents = [image if isinstance(image, bytes) else encoded(image, form) for image in images]
    table = pa.table({column: [{"bytes": each, "path": None} for each in contents], "label": labels})
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / f"{name}.parquet")


def own(folder, **fields):
    return Dataset(title="own", source="parquet", path=str(folder), **{"validation": 4, **fields})


def with_test(folder, names=None):
    parquet(folder, "test", pictures(4, 1), [0, 1] * 2, names)
    return own(folder)


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
    assert prepared.classes == ("0", "1") and prepared.treated == {"converted to RGB": 24}
    assert np.abs(prepared.test.images[3].astype(int) - 36).max() <= 1


def test_a_size_resizes_the_images_of_parquet(tmp_path):
    parquet(tmp_path, "train", [*pictures(10, 0), *pictures(10, 0, (9, 8, 3))], [0, 1] * 10)
    prepared = prepare(with_test(tmp_path).model_copy(update={"size": 6}), tmp_path / "out")
    assert prepared.shape == (3, 6, 6) and prepared.treated == {"resized": 24}


def test_damaged_rows_are_left_out_with_their_labels(tmp_path):
    """Their places are those of no other image, in the train part and in the test part."""
    images = [np.full((2, 2, 3), i, np.uint8) for i in range(200)]
    rows = [b"damaged" if i == 3 else image for i, image in enumerate(images)]
    parquet(tmp_path, "train", rows, [i % 5 for i in range(200)])
    parquet(tmp_path, "test", [images[0], b"", *images[2:100]], [i % 5 for i in range(100)])
    prepared = prepare(own(tmp_path, validation=10), tmp_path / "out")
    assert [len(getattr(prepared, split)) for split in SPLITS] == [189, 10, 99]
    for split in SPLITS:
        each = getattr(prepared, split)
        assert np.array_equal(each.images[:, 0, 0, 0] % 5, each.labels)


@pytest.mark.parametrize(
    ("images", "column", "told"),
    [
        ([*pictures(19, 0), b"no image"], "img", r"train.parquet: row 19: not an image"),
        ([*pictures(19, 0), b""], "img", r"train.parquet: row 19: not an image: empty"),
        (
            [*pictures(19, 0), *pictures(1, 0, (7, 5, 3))],
            "img",
            r"train.parquet: row 0 has 5x6 pixels, .*train.parquet: row 19 has 5x7; give `size`",
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
    with pytest.raises(UserError, match=told):
        prepare(with_test(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([0, 1] * 9 + [0, None], "1 of them missing"),
        ([0, 1] * 9 + [0, -1], "row 19: label -1; labels count from 0"),
        ([0, 1] * 9 + [0, 2**62], f"row 19: label {2**62}; labels count from 0"),
        (pa.array([0, 1] * 9 + [0, 2**63], pa.uint64()), f"row 19: label {2**63}; labels count from 0"),
        ([0, 1] * 9 + [0, 2**31 - 1], f"label {2**31 - 1} found among 24 images; labels count from 0"),
        ([0.0, 1.5] * 10, "expected an integer for every image, found 20 values of type double"),
        ([True, False] * 10, "of type bool"),
        (["cat", "dog"] * 10, "of type string"),
        (pa.array(["cat", "dog"] * 10).dictionary_encode(), "of type dictionary"),
        ([[0], [1]] * 10, "of type list"),
        ([0] * 20, None),  # the test part has both
    ],
)
def test_bad_labels_are_named(tmp_path, labels, told):
    parquet(tmp_path, "train", pictures(20, 0), labels)
    if told is None:
        parquet(tmp_path, "test", pictures(4, 1), [0] * 4)
        with pytest.raises(UserError, match="one class only, 0"):
            prepare(own(tmp_path), tmp_path / "out")
        return
    with pytest.raises(UserError, match=told):
        prepare(with_test(tmp_path), tmp_path / "out")


def test_names_of_classes_that_do_not_do(tmp_path):
    parquet(tmp_path, "train", pictures(20, 0), [0, 1, 2, 1] * 5, ["cat", "dog"])
    with pytest.raises(UserError, match="label 2 found, but the file names 2 classes only"):
        prepare(with_test(tmp_path), tmp_path / "out")
    parquet(tmp_path, "train", pictures(20, 0), [0, 1] * 10, ["cat", "dog"])
    with pytest.raises(UserError, match=r"train\.parquet and .*test\.parquet name different classes"):
        prepare(with_test(tmp_path, ["dog", "cat"]), tmp_path / "out")
    for names in ([1, 2], "catdog", {"0": "cat"}):
        parquet(tmp_path, "train", pictures(20, 0), [0, 1] * 10, names)
        with pytest.raises(UserError, match=r"train\.parquet: names of classes: expected a list of words"):
            prepare(with_test(tmp_path), tmp_path / "out")


@pytest.mark.parametrize("said", [b"{", b"\xff", b"[" * 100_000])
def test_metadata_that_are_no_json(tmp_path, said):
    parquet(tmp_path, "train", pictures(20, 0), [0, 1] * 10)
    path = tmp_path / "train.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": said}), path)
    with pytest.raises(UserError, match=r"train\.parquet: not a readable Parquet file"):
        prepare(with_test(tmp_path), tmp_path / "out")
    for said in (b"[]", b'{"info": 3}', b'{"info": {"features": {"label": null}}}'):
        pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": said}), path)
        assert prepare(with_test(tmp_path), tmp_path / "out").classes == ("0", "1")


@pytest.mark.parametrize("missing", [{"bytes": None, "path": "HERE"}, None])
def test_what_a_path_says_is_not_opened(tmp_path, missing, monkeypatch):
    """Not even where it names an image that is there."""
    (tmp_path / "secret.png").write_bytes(encoded(pictures(1, 0)[0]))
    for path in (str(tmp_path / "secret.png"), "secret.png", "/etc/passwd", "../../../etc/passwd"):
        row = missing and {**missing, "path": path}
        rows = [{"bytes": encoded(image), "path": path} for image in pictures(19, 0)]
        pq.write_table(pa.table({"img": [*rows, row], "label": [0, 1] * 10}), tmp_path / "train.parquet")
        monkeypatch.chdir(tmp_path)
        told = r"train\.parquet: row 19: not an image: no bytes; what `path` says is not opened"
        with pytest.raises(UserError, match=told):
            prepare(with_test(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ([b"x"] * 4, "binary"),
        ([{"path": "x"}] * 4, "struct<path: string>"),
        ([{"bytes": "x"}] * 4, "struct<bytes: string>"),
        ([{"bytes": 3}] * 4, "struct<bytes: int64>"),
        ([None] * 4, "null"),
    ],
)
def test_a_column_of_something_else(tmp_path, column, found):
    parquet(tmp_path, "train", pictures(20, 0), [0, 1] * 10)
    pq.write_table(pa.table({"img": column, "label": [0, 1] * 2}), tmp_path / "test.parquet")
    with pytest.raises(UserError) as caught:
        prepare(own(tmp_path), tmp_path / "out")
    assert str(caught.value).endswith(f"test.parquet: column `img`: expected {{bytes, path}}, found {found}")


def test_sizes_that_differ_between_files(tmp_path):
    parquet(tmp_path, "train", pictures(20, 0), [0, 1] * 10)
    parquet(tmp_path, "test", pictures(4, 1, (7, 5, 3)), [0, 1] * 2)
    with pytest.raises(UserError, match=r"train\.parquet: row 0 has 5x6 .*test\.parquet: row 0 has 5x7"):
        prepare(own(tmp_path), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"hello", b"PAR1", b"PAR1" * 100, None])
def test_a_file_that_is_no_parquet(tmp_path, content):
    parquet(tmp_path, "train", pictures(20, 0), [0, 1] * 10)
    path = tmp_path / "train.parquet"
    path.write_bytes(path.read_bytes()[:-50] if content is None else content)
    with pytest.raises(UserError, match=r"train.parquet: not a readable Parquet file"):
        prepare(with_test(tmp_path), tmp_path / "out")


def test_no_parquet_there(tmp_path):
    with pytest.raises(UserError, match=r"no train\*.parquet here"):
        prepare(own(tmp_path / "nowhere"), tmp_path / "out")
    parquet(tmp_path, "train", pictures(20, 0), [0, 1] * 10)
    with pytest.raises(UserError, match=r"no test\*.parquet here"):
        prepare(own(tmp_path), tmp_path / "out")
    os.mkfifo(tmp_path / "test.parquet")
    with pytest.raises(UserError, match=r"test\.parquet: expected a file"):
        prepare(own(tmp_path), tmp_path / "out")


def test_a_small_file_with_more_rows_than_memory(tmp_path, monkeypatch):
    """Equal rows take next to nothing in a Parquet file."""
    same = pa.array([{"bytes": encoded(pictures(1, 0)[0]), "path": None}])
    rows = pa.table({"img": same.take(pa.array([0] * 100_000)), "label": pa.array([0] * 100_000)})
    pq.write_table(rows, tmp_path / "train.parquet")
    assert (tmp_path / "train.parquet").stat().st_size < 10_000
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=800_000))
    with pytest.raises(UserError, match=r"100,000 images of 1x1 pixels takes .* 0\.0 GB are free"):
        prepare(with_test(tmp_path), tmp_path / "out")


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


# ------------------------------------------------------------------------------------------ whatever a file holds

PLACE = st.floats(0, 1, exclude_max=True)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("truncate"), PLACE),
        st.tuples(st.just("flip"), PLACE, st.integers(1, 255)),
        st.tuples(st.just("splice"), PLACE, PLACE, st.integers(1, 64)),
        st.tuples(st.just("overwrite"), PLACE, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("insert"), PLACE, st.binary(min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=4,
)


def mutated(content: bytes, changes) -> bytes:
    """The content of a file, changed here and there."""
    content = bytearray(content)
    for kind, place, *more in changes:
        at = int(place * len(content))
        if kind == "truncate":
            del content[at:]
        elif kind == "flip" and content:
            content[at] ^= more[0]
        elif kind == "splice":
            start, length = int(more[0] * len(content)), more[1]
            content[at : at + length] = content[start : start + length]
        elif kind == "overwrite":
            content[at : at + len(more[0])] = more[0]
        elif kind == "insert":
            content[at:at] = more[0]
    return bytes(content)


def survives(dataset: Dataset, folder: Path) -> None:
    """Preparing ends in a prepared file that can be read, or in one message, and leaves nothing else behind."""
    tally("data files mutated")
    before = set(folder.rglob("*"))
    with no_longer_than(60), contextlib.redirect_stdout(io.StringIO()):
        try:
            made = prepare(dataset, folder / "out")
        except UserError as error:
            assert str(error).strip() and "\n" not in str(error)
            assert set(folder.rglob("*")) == before
        else:
            assert isinstance(made, Prepared) and read(folder / "out").fingerprint == made.fingerprint
            assert set(folder.rglob("*")) == before | {folder / "out"}


def soak(test):
    """So many examples as are asked for."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(examples(50), suppress_health_check=slow)(test)


def small_parquet(folder: Path, compression: str, dictionary: bool) -> bytes:
    parquet(folder, "test", pictures(4, 1, (4, 4, 3)), [0, 1] * 2, ["cat", "dog"])
    parquet(folder, "train", pictures(20, 0, (4, 4, 3)), [0, 1] * 10, ["cat", "dog"])
    path = folder / "train.parquet"
    pq.write_table(pq.read_table(path), path, compression=compression, use_dictionary=dictionary)
    return path.read_bytes()


@soak
@given(st.sampled_from(["none", "snappy", "gzip", "zstd"]), st.booleans(), CHANGES)
def test_any_change_of_a_parquet_file_is_survived(tmp_path_factory, compression, dictionary, changes):
    folder = tmp_path_factory.mktemp("x")
    content = small_parquet(folder, compression, dictionary)
    (folder / "train.parquet").write_bytes(mutated(content, changes))
    survives(own(folder), folder)


FORMS = {
    "PNG": {},
    "JPEG": {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"},
    "GIF": {},
    "TIFF": {"compression": "tiff_lzw"},
}
FORMS |= {"BMP": {}, "PPM": {}, "WEBP": {}}


def small_folder(form: str) -> dict[str, bytes]:
    """24 images of two classes; those of a class are alike."""
    return {
        f"{name}/{i}.{form.lower().replace('jpeg', 'jpg')}": encoded(
            pictures(1, i, (4, 4, 3))[0], form, **FORMS[form]
        )
        for name in ("cat", "dog")
        for i in range(12)
    }


@soak
@given(st.sampled_from(list(ARCHIVES)), st.sampled_from(["PNG", "JPEG"]), CHANGES)
def test_any_change_of_an_archive_is_survived(tmp_path_factory, kind, form, changes):
    folder = tmp_path_factory.mktemp("x")
    path = put(small_folder(form), folder / kind)
    path.write_bytes(mutated(path.read_bytes(), changes))
    survives(own_folder(path), folder)


@soak
@given(st.sampled_from(list(FORMS)), st.sampled_from([None, 3]), CHANGES)
@example("PNG", None, [("flip", 0.2, 255)])
def test_any_change_of_an_image_is_survived(tmp_path_factory, form, size, changes):
    folder = tmp_path_factory.mktemp("x")
    files = small_folder(form)
    name = sorted(files)[5]
    put(files | {name: mutated(files[name], changes)}, folder / "folder")
    survives(own_folder(folder / "folder", size=size), folder)
