from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from conftest import encoded
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ablations import decoding
from ablations.config import Dataset
from ablations.decoding import Undecodable, decode, decode_all
from ablations.errors import UserError

OWN = Dataset(title="own", source="folder", path="own", validation=2)
RGB = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)


def treated(content, size=None):
    """An image and, as a set, what was done to it."""
    counts = Counter()
    image = decode(content, "x.png", size, counts)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and set(counts.values()) <= {1}
    return image, set(counts)


def all_of(contents, dataset=OWN):
    return decode_all(
        ((i, f"row {i}", content) for i, content in enumerate(contents)), len(contents), dataset
    )


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_an_rgb_image_is_left_as_it_is(form):
    options = {"lossless": True} if form == "WEBP" else {}
    image, how = treated(encoded(RGB, form, **options))
    assert np.array_equal(image, RGB) and how == set()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 65535), min_size=6, max_size=6), st.sampled_from(["PNG", "TIFF", "PPM"]))
def test_of_16_bits_the_upper_8_are_kept(values, form):
    grey = np.array(values, np.uint16).reshape(2, 3)
    image, how = treated(encoded(grey, form))
    assert np.array_equal(image, np.repeat((grey >> 8)[:, :, None], 3, 2))
    assert how == {"reduced from 16 to 8 bits", "converted to RGB"}


def test_other_modes_become_rgb():
    grey = RGB[:, :, 0]
    assert np.array_equal(treated(encoded(grey))[0], np.repeat(grey[:, :, None], 3, 2))
    picture = Image.fromarray(RGB)
    for mode in ("1", "P", "L"):
        image, how = treated(encoded(picture.convert(mode)))
        assert np.array_equal(image, np.asarray(picture.convert(mode).convert("RGB")))
        assert how == {"converted to RGB"}
    flat = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # red
    image, how = treated(encoded(flat, "JPEG"))
    assert how == {"converted to RGB"} and np.abs(image.astype(int) - [255, 0, 0]).max() <= 3


def test_what_is_transparent_is_laid_on_white():
    alpha = np.dstack([RGB, np.full((5, 4), 255, np.uint8)])
    image, how = treated(encoded(alpha))
    assert np.array_equal(image, RGB) and how == {"converted to RGB"}  # nothing shines through
    alpha[0, :, 3], alpha[1, :, 3] = 0, 128
    image, how = treated(encoded(alpha))
    assert how == {"converted to RGB", "laid on white"}
    assert (image[0] == 255).all() and np.array_equal(image[2:], RGB[2:])
    assert np.abs(image[1] - (RGB[1] * (128 / 255) + 255 * (127 / 255))).max() <= 1
    palette = Image.fromarray(RGB[:, :, 0]).convert("P")
    image, how = treated(encoded(palette, transparency=int(RGB[0, 0, 0])))
    assert "laid on white" in how and (image[RGB[:, :, 0] == RGB[0, 0, 0]] == 255).all()


TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", [*TURNS, 0, 9])
def test_exif_says_how_an_image_is_turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, how = treated(encoded(RGB, exif=exif))
    assert np.array_equal(image, TURNS.get(orientation, TURNS[1])(RGB))
    assert how == ({"turned upright"} if 2 <= orientation <= 8 else set())


def test_damaged_exif_costs_no_image():
    for exif in (b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00nothing", b"\xff" * 50):
        image, how = treated(encoded(RGB, exif=exif))
        assert np.array_equal(image, RGB) and how == set()


@pytest.mark.parametrize(("form", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})])
def test_of_several_frames_the_first_is_taken(form, options):
    frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (0, 255, 100)]
    image, how = treated(encoded(frames[0], form, save_all=True, append_images=frames[1:], **options))
    assert (image == 0).all() and "reduced to the first frame" in how


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20))
def test_any_image_is_resized_to_any_size(width, height, size):
    image, how = treated(encoded(np.full((height, width, 3), 77, np.uint8)), size)
    assert image.shape == (size, size, 3) and (image == 77).all()
    assert how == (set() if (width, height) == (size, size) else {"resized"})


def test_resizing_takes_the_square_in_the_middle():
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    image, _ = treated(encoded(wide), 8)
    assert (image == 200).all()
    image, _ = treated(encoded(wide.transpose(1, 0, 2)), 4)
    assert (image[1:3] == 200).all()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *chunks, rows=b""):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(60000, 60000), (10000, 9000), (2**31 - 1, 1)])
def test_a_header_that_claims_too_many_pixels_is_refused(width, height):
    with pytest.raises(UserError, match=r"^x\.png: more than 89,478,485 pixels, the most"):
        treated(png(width, height))


def test_text_that_unpacks_to_gigabytes_is_not_unpacked():
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 50_000_000))
    rows = (b"\0" + bytes(12)) * 5
    with pytest.raises(Undecodable):
        treated(png(4, 5, bomb, rows=rows))
    text = chunk(b"tEXt", b"k\0" + b"a" * 3_000_000)  # just long
    assert (treated(png(4, 5, text, rows=rows))[0] == 0).all()


def test_more_bytes_than_are_read_of_an_image_are_refused(monkeypatch):
    monkeypatch.setattr(decoding, "FILE_BYTES", 50)
    with pytest.raises(UserError, match=r"^x\.png: more than 50 bytes"):
        treated(encoded(RGB))


JPEG = encoded(RGB, "JPEG")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no bytes; what `path` says is not opened"),
        (b"", "empty"),
        (b"GIF89a", "."),
        (b"#!/bin/sh\necho hello\n", "none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n", "none of BMP"),
        (encoded(RGB, "TGA"), "none of BMP"),
        (JPEG[:-20], "truncated"),
        (JPEG[:30], "."),
        (encoded(RGB)[:-30], "."),
        (png(0, 4), "."),
        (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "pixels of mode F"),
        (encoded(Image.fromarray(np.ones((4, 4), np.int32)), "TIFF"), "pixels of mode I"),
    ],
)
def test_what_is_no_image_says_so_without_addresses(content, told):
    with pytest.raises(Undecodable, match=told) as caught:
        treated(content)
    assert str(caught.value) and "0x" not in str(caught.value)


def test_one_image_in_a_hundred_may_be_damaged(capsys):
    images = [encoded(np.full((2, 2, 3), i, np.uint8)) for i in range(200)]
    images[7] = images[150] = b"damaged"
    decoded = all_of(images)
    assert decoded.treated == {"left out (not decodable)": 2}
    assert np.flatnonzero(~decoded.kept).tolist() == [7, 150]
    assert decoded.images[:, 0, 0, 0].tolist() == [i for i in range(200) if i not in (7, 150)]
    assert capsys.readouterr().out.splitlines() == [
        f"row {i}: left out, not an image: none of {', '.join(decoding.FORMATS)}" for i in (7, 150)
    ]
    images[151] = b"damaged too"
    with pytest.raises(
        UserError, match=r"^row 151: not an image: .*\. 3 of 200 cannot be decoded; one in 100"
    ):
        all_of(images)


def test_images_of_different_sizes_are_named():
    images = [encoded(np.zeros(shape, np.uint8)) for shape in [(2, 3, 3), (2, 3, 3), (4, 5, 3), (6, 6, 3)]]
    with pytest.raises(UserError, match="row 0 has 3x2 pixels, row 2 has 5x4; give `size`"):
        all_of(images)
    assert all_of(images, OWN.model_copy(update={"size": 4})).images.shape == (4, 3, 4, 4)


def test_positions_may_come_in_any_order():
    images = [encoded(np.full((1, 1, 3), i, np.uint8)) for i in range(5)]
    decoded = decode_all(((i, "", images[i]) for i in (3, 0, 4, 1, 2)), 5, OWN)
    assert decoded.images.ravel()[::3].tolist() == [0, 1, 2, 3, 4] and decoded.kept.all()


@pytest.mark.parametrize(("size", "read"), [(64, 0), (None, 1)])
@pytest.mark.parametrize(("noise", "copies"), [(0.0, 4), (0.5, 30)])
def test_what_does_not_fit_into_memory_is_refused_before_it_is_decoded(
    monkeypatch, size, read, noise, copies
):
    needed, taken = 1000 * 3 * 64 * 64 * copies, []
    dataset = OWN.model_copy(update={"size": size, "noise": noise})
    image = encoded(np.zeros((64, 64, 3), np.uint8))

    def stream():
        for i in range(1000):
            taken.append(i)
            yield i, f"row {i}", image

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed - 1))
    with pytest.raises(UserError, match=r"1,000 images of 64x64 pixels takes .* give a smaller `size`"):
        decode_all(stream(), 1000, dataset)
    assert len(taken) == read
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed))
    assert len(decode_all(stream(), 1000, dataset).images) == 1000


def test_decoding_prints_no_warnings(recwarn):
    treated(encoded(RGB, "TIFF")[:-1] + b"\xff")
    broken = io.BytesIO()
    Image.fromarray(RGB).save(broken, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0")
    treated(broken.getvalue())
    assert not recwarn.list
