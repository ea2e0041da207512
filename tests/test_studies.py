"""What the studies of the package promise: arms of equal cost, and the golden cost of every arm."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import nn

from ablations.config import Library
from ablations.models import build
from ablations.networks import Network
from ablations.plan import make_plan
from ablations.statistics import weighted_arms

GOLDEN = Path(__file__).parent / "golden" / "costs.csv"


def cost(model: Network, shape: tuple[int, int, int], classes: int = 10) -> dict[str, int]:
    """MACs, parameters and activations from the shapes of convolutions and linear layers;
    `tests/test_cost.py` holds fvcore against layer formulas."""
    macs = activations = 0

    def add(module, inputs, out):
        nonlocal macs, activations
        convolution = isinstance(module, nn.Conv2d)
        each = (
            module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
            if convolution
            else module.in_features
        )
        macs += out.numel() * each
        activations += out.numel()

    with torch.inference_mode():
        net = build(model, shape, classes).eval()
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(add)
        net(torch.zeros(1, *shape))
    return {"macs": macs, "parameters": sum(p.numel() for p in net.parameters()), "activations": activations}


def arms(suite: str):
    plan = make_plan(Library(), suite)
    shape = (1, 8, 8) if suite == "digits" else (3, 32, 32)
    for name in plan.suite.studies:
        for key, arm in plan.study(name).arms.items():
            yield name, "/".join(key), arm.model, shape


@pytest.mark.parametrize("suite", ["digits", "cifar10"])
def test_costs_are_those_of_the_golden_file(suite):
    """A change of any network shows here. To renew the file after a change that is meant:
    python tests/test_studies.py"""
    golden = {(r["suite"], r["study"], r["arm"]): r for r in csv.DictReader(GOLDEN.open())}
    seen = {}
    for study, arm, model, shape in arms(suite):
        if model not in seen:
            seen[model] = cost(model, shape)
        counted = seen[model]
        expected = golden.pop((suite, study, arm))
        assert {key: int(expected[key]) for key in counted} == counted, (study, arm)
    assert not [key for key in golden if key[0] == suite]


def ratio(suite, study, arm, to, metric="macs"):
    found = {a: model for s, a, model, _ in arms(suite) if s == study}
    shape = (1, 8, 8) if suite == "digits" else (3, 32, 32)
    return cost(found[arm], shape)[metric] / cost(found[to], shape)[metric]


@pytest.mark.parametrize("suite", ["digits", "cifar10"])
def test_bottlenecks_are_compared_at_equal_cost(suite):
    assert ratio(suite, "bottleneck", "bottleneck (equal MACs)", "basic") == pytest.approx(1, abs=0.02)
    assert ratio(
        suite, "bottleneck", "bottleneck (equal parameters)", "basic", "parameters"
    ) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("suite", ["digits", "cifar10"])
def test_cardinalities_are_compared_at_equal_cost(suite):
    for _, arm, _, _ in (each for each in arms(suite) if each[0] == "cardinality"):
        twice, tolerance = (2, 0.03) if arm.endswith("2x MACs") else (1, 0.02)
        assert ratio(suite, "cardinality", arm, "1") == pytest.approx(twice, rel=tolerance)


@pytest.mark.parametrize("suite", Library().names("suites"))
def test_a_suite_has_the_arms_that_the_claims_of_its_report_are_about(suite):
    plan = make_plan(Library(), suite)
    for planned in plan.reported("report"):
        assert all(weighted_arms(planned, claim) for claim in planned.study.claims.values())


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    with GOLDEN.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["suite", "study", "arm", "macs", "parameters", "activations"])
        for suite in ("digits", "cifar10"):
            for study, arm, model, shape in arms(suite):
                writer.writerow([suite, study, arm, *cost(model, shape).values()])
