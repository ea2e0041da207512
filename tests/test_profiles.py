"""The profiles for clusters say what Snakemake, its plugins and the rules understand."""

from __future__ import annotations

import importlib.util
import re

import pytest
from conftest import ROOT, snakemake

from ablations.reading import read_yaml

PROFILES = ROOT / "workflow" / "profiles"
PLUGINS = {
    "slurm": ["snakemake_executor_plugin_slurm"],
    "kubernetes": ["snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs"],
}
SMK = "".join(path.read_text() for path in ROOT.glob("workflow/rules/*.smk"))


@pytest.mark.parametrize("name", PLUGINS)
def test_profiles_name_rules_that_there_are(name):
    profile = read_yaml(PROFILES / name / "config.yaml")
    named = {group.partition("=")[0] for group in profile.get("groups", ())} | set(profile["set-resources"])
    rules = set(re.findall(r"^rule (\w+):", SMK, re.MULTILINE))
    assert named and named <= rules


@pytest.mark.parametrize("name", PLUGINS)
def test_profiles_are_understood(name, tmp_path):
    if missing := [plugin for plugin in PLUGINS[name] if importlib.util.find_spec(plugin) is None]:
        pytest.skip(f"no {', '.join(missing)}: pip install 'ablations[{name}]'")
    profile = ("--profile", str(PROFILES / name))
    there = ("--default-storage-prefix", str(tmp_path / "declared")) if name == "kubernetes" else ()
    output = snakemake("-n", *profile, *there, "--config", "suite=smoke", folder=tmp_path)
    assert re.search(r"^train +6$", output, re.MULTILINE)
    assert re.search(r"^12 runs to train, ", output, re.MULTILINE)
    if name == "kubernetes":
        assert f"{tmp_path}/declared/results/smoke/depth/runs.csv (in storage)" in output


def test_the_links_of_pods_lead_where_commands_write():
    """`.snakemake/storage/fs` and the path of the storage is where Snakemake looks for its copies."""
    profile = read_yaml(PROFILES / "kubernetes" / "config.yaml")
    folder = f".snakemake/storage/fs{profile['default-storage-prefix']}"
    up = "../" * len(folder.split("/"))
    assert profile["precommand"].endswith(f"ln -s {up}results {up}report {folder}/")
