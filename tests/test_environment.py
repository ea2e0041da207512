from __future__ import annotations

import re
import tomllib

import pytest
from conftest import ROOT, write
from ruamel.yaml import YAML

from ablations import gpus
from ablations.config import Library

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_conda_environment_has_the_same_ranges():
    environment = YAML(typ="safe").load(ROOT / "workflow" / "envs" / "ablations.yaml")
    assert environment["dependencies"][-1]["pip"] == PROJECT["dependencies"]


def test_the_readme_lists_every_study_with_its_question():
    readme, library = (ROOT / "README.md").read_text(), Library()
    for name in library.names("studies"):
        assert f"| `{name}` | {library.study(name).question} |" in readme
    for name in library.names("suites"):
        assert f"| `{name}` |" in readme


def test_the_lock_file_pins_every_dependency_with_hashes_and_no_address():
    text = (ROOT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+)==\S+", text, re.MULTILINE))
    for requirement in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        assert re.sub(r"[._]", "-", name).lower() in pinned
    assert text.count("--hash=sha256:") > len(pinned) and "://" not in text and "index" not in text


@pytest.mark.parametrize(("named", "count"), [("", 0), ("0", 1), ("0,3", 2), ("-1", 0), ("GPU-8a,GPU-9b", 2)])
def test_the_outer_choice_of_devices_is_respected(monkeypatch, named, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus.visible() == count


def test_devices_are_counted(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        write(tmp_path / name, "")
    assert gpus.visible() == 2
