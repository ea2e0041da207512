"""The report in report/example/ is what its tables give today. If it is stale: python tests/example.py"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from example import EXAMPLE, render

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
NAME = re.compile(r'(id="|#)\w+')  # in a figure: a hash of coordinates


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return render(EXAMPLE / "tables", tmp_path_factory.mktemp("example"))


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def alike(made: Path, committed: Path) -> bool:
    """Whether two figures are the same to a tenth of a point: the last digits differ between processors."""
    texts = [NAME.sub("", path.read_text()) for path in (made, committed)]
    words = [NUMBER.split(text) for text in texts]
    numbers = [np.array(NUMBER.findall(text), dtype=float) for text in texts]
    return words[0] == words[1] and np.allclose(*numbers, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", ["report.md", "report-runs.csv"])
def test_text_and_table_are_those_of_the_committed_example(made, name):
    assert (made / name).read_text() == (EXAMPLE / name).read_text()


def test_figures_are_those_of_the_committed_example(made):
    assert names(made / "figures") == names(EXAMPLE / "figures")
    figures = [name for name in names(made / "figures") if name.endswith(".svg")]
    stale = [name for name in figures if not alike(made / "figures" / name, EXAMPLE / "figures" / name)]
    assert not stale


def test_the_pdf_is_that_of_the_committed_example(made):
    figures = [name for name in names(made / "figures") if name.endswith(".svg")]
    if any(
        (made / "figures" / name).read_bytes() != (EXAMPLE / "figures" / name).read_bytes()
        for name in figures
    ):
        pytest.skip("figures differ in the last digits on this processor, and with them the file")
    assert (made / "report.pdf").read_bytes() == (EXAMPLE / "report.pdf").read_bytes()
