"""The profiles for clusters say what Snakemake and its plugins understand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT, snakemake

from ablations.config import read_yaml

PROFILES = ROOT / "workflow" / "profiles"
RULES = set(
    re.findall(
        r"^rule (\w+):", "".join(p.read_text() for p in ROOT.glob("workflow/rules/*.smk")), re.MULTILINE
    )
)


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_profiles_name_rules_that_there_are(name):
    profile = read_yaml(PROFILES / name / "config.yaml")
    grouped = {group.partition("=")[0] for group in profile.get("groups", ())}
    assert "train" in RULES and grouped | set(profile["set-resources"]) <= RULES


def dry_run(name: str, folder: Path, *more: str) -> str:
    return snakemake("-n", "--profile", str(PROFILES / name), *more, "--config", "suite=smoke", folder=folder)


def resources_of(rule: str, output: str) -> set[str]:
    """What Snakemake says that jobs of a rule are to get."""
    ...
