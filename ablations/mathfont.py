"""The font of formulas in HTML: what a page needs of STIX Two Math, as a style that the page carries itself. Without a
font for mathematics browsers cannot stretch brackets and roots, and few machines have one."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
import re
import unicodedata
from pathlib import Path

FONT = "fonts/STIXTwoMath-Regular.ttf"  # in the package ziamath, which is there for this file
ITALIC = {"h": "ℎ", "ϵ": "𝜖", "∂": "𝜕"}  # whose names do not follow from the letter's


def style(page: str) -> str:
    """A `<style>` with the font of the characters in the page's formulas; empty where it has none."""
    formulas = re.findall(r"<math.*?</math>", page, re.DOTALL)
    used = set(html.unescape(re.sub(r"<[^>]*>", "", "".join(formulas))))
    if not used:
        return ""
    font = base64.b64encode(subset(used | {italic(character) for character in used})).decode()
    return (
        '<style>@font-face { font-family: "STIX Two Math"; src: url(data:font/woff;base64,'
        f'{font}); }} math {{ font-family: "STIX Two Math", math; }}</style>'
    )


def italic(character: str) -> str:
    """How a browser shows a variable of one letter; other characters as they are."""
    if character in ITALIC:
        return ITALIC[character]
    size, _, letter = unicodedata.name(character, "").partition(" LETTER ")
    name = f"MATHEMATICAL ITALIC {size.removeprefix('LATIN ').removeprefix('GREEK ')} {letter}"
    try:
        return unicodedata.lookup(name)
    except KeyError:
        return character


def subset(characters: set[str]) -> bytes:
    """The font with these characters, and the larger forms of those that stretch, as WOFF."""
    from fontTools import subset
    from fontTools.ttLib import TTFont

    (package,) = importlib.util.find_spec("ziamath").submodule_search_locations
    font = TTFont(Path(package) / FONT)
    options = subset.Options(layout_features=["*"])
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(characters))
    subsetter.subset(font)
    font.flavor = "woff"
    written = io.BytesIO()
    font.save(written)
    return written.getvalue()
