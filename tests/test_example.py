"""The report in report/example/ is what its tables give today. If it is stale: python tests/example.py"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example import EXAMPLE, SUITE, render

from ablations.config import Library
from ablations.plan import make_plan
from ablations.report import write_report

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


def same_table(made: Path, committed: Path) -> bool:
    """Whether two tables hold the same, numbers but for their last digits."""
    try:
        pd.testing.assert_frame_equal(pd.read_csv(made), pd.read_csv(committed), rtol=1e-9)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("name", ["report.md", "report-runs.csv"])
def test_text_and_table_are_those_of_the_committed_example(made, name):
    assert (made / name).read_text() == (EXAMPLE / name).read_text()


def test_figures_and_the_data_behind_them_are_those_of_the_committed_example(made):
    assert names(made / "figures") == names(EXAMPLE / "figures")
    tables = [name for name in names(made / "figures") if name.endswith(".csv")]
    figures = [name for name in names(made / "figures") if name.endswith(".svg")]
    assert {*tables, *figures} == set(names(made / "figures"))
    stale = [name for name in tables if not same_table(made / "figures" / name, EXAMPLE / "figures" / name)]
    stale += [name for name in figures if not alike(made / "figures" / name, EXAMPLE / "figures" / name)]
    assert not stale


def test_the_pdf_is_the_text_of_today_with_the_committed_figures(made, tmp_path, monkeypatch):
    """With figures made today it need not be, since their last digits differ between processors."""
    shutil.copytree(made.parent.parent, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / made.relative_to(made.parent.parent)
    shutil.copytree(EXAMPLE / "figures", folder / "figures", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ablations.report.draw_headline", lambda *arguments: None)
    write_report(make_plan(Library(), SUITE), "report")
    assert (folder / "report.pdf").read_bytes() == (EXAMPLE / "report.pdf").read_bytes()
