from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.config import Dataset, Library
from ablations.data import SPLITS, prepare, read, read_header
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
