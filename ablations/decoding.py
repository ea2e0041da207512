"""Encoded images (JPEG, PNG, ...) -> one array of RGB pixels, whatever they hold.

Of several frames the first is taken; an image is turned as its EXIF orientation says; of 16 bits the upper 8 are kept;
what is transparent is laid on white; grey, palette and CMYK become RGB; colour profiles are ignored. With a `size` the
largest square in the middle is resized to it, bilinear. Whatever was done is counted.

One image in a hundred may be damaged: it is named, left out and counted. An image beyond the limits of pixels or bytes
ends it all, as do more images than fit into memory: that is checked before they are decoded.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ablations.config import Dataset
from ablations.errors import UserError
from ablations.files import told

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # none that needs another program
FILE_BYTES = 2**28  # of an encoded image
DAMAGED = 100  # one image in so many may be left out
# Bytes of memory for each byte of pixels, as measured: decoded, split and written; noise is drawn in double precision.
COPIES, COPIES_WITH_NOISE = 4, 30


@dataclass(frozen=True)
class Decoded:
    """Images uint8 [n, 3, height, width], which of all these are (bool [count]), and how many were treated how."""

    images: np.ndarray
    kept: np.ndarray
    treated: Counter[str]


class Undecodable(Exception):
    """These bytes are no image, or a damaged one."""


def decode_all(encoded: Iterable[tuple[int, str, bytes | None]], count: int, dataset: Dataset) -> Decoded:
    """The images of a data set, `count` in all: position, name for messages and content of each, in any order. UserError
    where more than one in a hundred cannot be decoded, where sizes differ and the data set gives no `size`, and where
    an image, or all together, are too large."""
    side = dataset.size or 1
    check_memory(dataset, count, side, side)
    kept, treated = np.zeros(count, bool), Counter()
    images, first = None, ""
    for position, name, content in encoded:
        try:
            image = decode(content, name, dataset.size, treated)
        except Undecodable as error:
            treated["left out (not decodable)"] += 1
            lost = treated["left out (not decodable)"]
            if lost * DAMAGED > count:
                raise UserError(
                    f"{name}: not an image: {error}. {lost} of {count} cannot be decoded; one in {DAMAGED} is left "
                    "out, not more"
                ) from None
            print(f"{name}: left out, not an image: {error}", flush=True)
            continue
        height, width, _ = image.shape
        if images is None:
            check_memory(dataset, count, height, width)
            images, first = np.empty((count, 3, height, width), np.uint8), name
        if image.shape[:2] != images.shape[2:]:
            found = f"{first} has {images.shape[3]}x{images.shape[2]} pixels, {name} has {width}x{height}"
            raise UserError(f"images of different sizes: {found}; give `size`, in pixels, to resize them all")
        images[position], kept[position] = image.transpose(2, 0, 1), True
    return Decoded(images if kept.all() else images[kept], kept, treated)


def check_memory(dataset: Dataset, count: int, height: int, width: int) -> None:
    """UserError where so many images do not fit into the memory that is free."""
    import psutil

    needed = 3 * count * height * width * (COPIES_WITH_NOISE if dataset.noise else COPIES)
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"data set {dataset.title}: to prepare {count:,} images of {width}x{height} pixels takes "
            f"{needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; give a smaller `size`, or fewer images"
        )


def decode(content: bytes | None, name: str, size: int | None, treated: Counter[str]) -> np.ndarray:
    """An image as uint8 [height, width, 3]; counts how it was treated. Undecodable where it is none, UserError where it
    is too large to try."""
    from PIL import Image, UnidentifiedImageError

    if content is None:
        raise Undecodable("no bytes; what `path` says is not opened")
    if not content:
        raise Undecodable("empty")
    if len(content) > FILE_BYTES:
        raise UserError(f"{name}: more than {FILE_BYTES:,} bytes, the most that is read of an image")
    treatment: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                pixels = np.asarray(as_rgb(image, size, treatment))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            limit = f"{Image.MAX_IMAGE_PIXELS:,} pixels"
            raise UserError(f"{name}: more than {limit}, the most that is decoded of an image") from None
        except UnidentifiedImageError:
            raise Undecodable(f"none of {', '.join(FORMATS)}") from None
        except Exception as error:  # Pillow answers damage with nearly every kind of exception
            raise Undecodable(told(str(error) or type(error).__name__)) from None
    treated.update(treatment)
    return pixels


def as_rgb(image: Image.Image, size: int | None, treatment: list[str]) -> Image.Image:
    """An opened image in RGB, the right way up, of the size that is asked for."""
    from PIL import Image, ImageOps

    if getattr(image, "is_animated", False):
        treatment.append("reduced to the first frame")
    image.load()
    if orientation(image) in range(2, 9):
        image = ImageOps.exif_transpose(image)
        treatment.append("turned upright")
    if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        treatment.append("reduced from 16 to 8 bits")
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode}, on an unknown scale; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getextrema()[3][0] < 255:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            treatment.append("laid on white")
    if image.mode != "RGB":
        image = image.convert("RGB")
        treatment.append("converted to RGB")
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        treatment.append("resized")
    return image


def orientation(image: Image.Image) -> object:
    """What EXIF says of how an image is turned; 1, upright, where it says nothing that can be read."""
    from PIL import ExifTags

    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the pixels of an image with damaged EXIF are as good as others
        return 1
