"""Probes against cases computed by hand, and the way from a study's diagnostics to its report."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from conftest import ROOT, TINY, write
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ablations import diagnostics, figures, layout, mechanism_findings, mechanisms
from ablations.cli import main
from ablations.config import DIAGNOSTICS, THROUGH_TRAINING, Library, Study
from ablations.diagnostic_figures import contours, draw_diagnostic, fifths
from ablations.diagnostics import MEASURES, PROBES, landscape, lesions, signals, uncertainty
from ablations.errors import UserError
from ablations.mechanisms import MECHANISMS, RANGE, SMOOTHNESS, TRAINED
from ablations.models import build
from ablations.models.blocks import Block
from ablations.models.regularisation import Dropout
from ablations.models.shortcuts import Identity
from ablations.networks import ResNet
from ablations.plan import make_plan
from ablations.report import diagnostic_context
from ablations.schema import validate
from ablations.store import WEIGHTS

IMAGES, LABELS = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4


def chance():
    return torch.Generator().manual_seed(0)


def test_every_mechanism_has_its_probes():
    assert set(MECHANISMS) == set(PROBES) | set(MEASURES) == set(DIAGNOSTICS)
    assert set(MEASURES) == set(THROUGH_TRAINING)
    for name, probes in PROBES.items():
        assert list(MECHANISMS[name].panels) == list(probes)


def test_sources_are_in_the_bibliography():
    known = (ROOT / "report" / "references.bib").read_text()
    for mechanism in MECHANISMS.values():
        keys = re.findall(r"@(\w+)", mechanism.method)
        assert keys and all(f"{{{key}," in known for key in keys)


# ------------------------------------------------------------------------------------------ probes


def rotations(factor: float, layers: int) -> nn.Sequential:
    """A linear network whose layers are `factor` times an orthogonal matrix."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), *(nn.Linear(4, 4, bias=False) for _ in range(layers)))
    for layer in net[1:]:
        layer.weight.data = factor * torch.linalg.qr(torch.randn(4, 4))[0]
    return net


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_the_rate_is_the_factor_of_the_layers_jacobian(factor):
    net, images = rotations(factor, 6), torch.randn(8, 1, 2, 2)
    points = signals.gradient_by_layer(net, images, LABELS, chance())
    norms = dict(points)
    last = (net(images).softmax(1) - nn.functional.one_hot(LABELS, 4)).norm() / 8
    assert list(norms) == [1, 2, 3, 4, 5, 6] and norms[6] == pytest.approx(last.item(), rel=1e-4)
    assert mechanisms.rate(pd.DataFrame(points, columns=["position", "value"])) == pytest.approx(
        factor, rel=1e-4
    )


def test_the_rate_of_gradients_that_are_all_zero_is_unknown():
    assert math.isnan(mechanisms.rate(pd.DataFrame({"position": [1, 2], "value": [0.0, 0.0]})))


class Times(nn.Module):
    """A transform that multiplies."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


class Plus(nn.Module):
    """A transform that puts out the same numbers whatever comes in."""

    def __init__(self, *numbers: float):
        super().__init__()
        self.numbers = torch.tensor(numbers).view(1, -1, 1, 1)

    def forward(self, x):
        return self.numbers.expand_as(x)


def residual(*transforms: nn.Module, channels: int = 3) -> nn.Sequential:
    """x + F(x) for each transform F, without a ReLU, and the pixels as logits."""
    added = (Block(each, Identity(channels, channels, 1), nn.Identity()) for each in transforms)
    return nn.Sequential(*added, nn.Flatten())


def test_the_response_is_counted_against_the_input_of_the_block():
    points = signals.response_magnitude(residual(Times(0.5), Times(2)), IMAGES, LABELS, chance())
    assert points == [(1, pytest.approx(0.5)), (2, pytest.approx(2.0))]


def test_the_response_after_a_norm_is_not_the_same_in_every_network():
    """The norm at the end of a transform makes its deviation 1; only beside the input does it say anything."""
    torch.manual_seed(0)
    for shortcut, last in (("none", 1.7), ("identity", 0.7)):
        net = build(ResNet(depth=20, shortcut=shortcut), (3, 8, 8), 4)
        points = dict(signals.response_magnitude(net, torch.randn(64, 3, 8, 8), LABELS, chance()))
        assert points[9] == pytest.approx(last, abs=0.2)


def test_the_variance_of_the_branch_is_counted_against_the_shortcut():
    net = residual(Times(0.0), Times(0.5), Times(-2.0))
    points = signals.branch_variance(net, IMAGES, LABELS, chance())
    assert points == [(1, 0.0), (2, pytest.approx(0.25)), (3, pytest.approx(4.0))]


def test_with_batch_norm_the_share_of_a_block_falls_as_its_number():
    """Pre-activated, one stage: each transform adds about the same variance (De & Smith 2020)."""
    torch.manual_seed(0)
    net = build(ResNet(blocks=[16], widths=[32], order="pre"), (3, 8, 8), 4)
    points = dict(signals.branch_variance(net, torch.randn(64, 3, 8, 8), LABELS, chance()))
    first = points[2] * 2  # the first block's shortcut is normalised with its transform's input
    assert all(0.5 * first < ratio * number < 2 * first for number, ratio in points.items() if number > 1)


PAIR = torch.tensor([[1.0, 2.0], [3.0, 1.0]]).view(2, 2, 1, 1)  # two images of two channels and a pixel


def test_a_block_that_adds_nothing_can_be_deleted():
    net, labels = residual(Times(0.0), Times(-2.0), channels=2), torch.tensor([0, 1])  # x, then -x
    assert lesions.delete_one(net, PAIR, labels, chance()) == [(0, 0.0), (1, 0.0), (2, 100.0)]
    nothing = residual(*[Times(0.0)] * 4, channels=2)
    points = lesions.delete_several(nothing, PAIR, torch.tensor([1, 1]), chance())
    assert points == [(count, 50.0) for count in range(5)]


def test_all_blocks_are_deleted_in_the_end():
    net = residual(Times(0.0), Times(-2.0), channels=2)
    points = lesions.delete_several(net, PAIR, torch.tensor([0, 1]), chance())
    assert points[0] == (0, 0.0) and points[2] == (2, 100.0)


def test_neighbours_are_swapped():
    """-(x + (4, 0)) has its larger logit in the second place, -x + (4, 0) in the first."""
    net = residual(Plus(4.0, 0.0), Times(-2.0), Times(0.0), channels=2)
    points = lesions.swap_neighbours(net, PAIR, torch.tensor([1, 1]), chance())
    assert points == [(0, 0.0), (1, 100.0), (2, 0.0)]


def test_a_plain_network_keeps_the_blocks_that_change_the_shape():
    for shortcut, expected in (("none", [1, 2, 4, 6]), ("identity", [1, 2, 3, 4, 5, 6])):
        net = build(ResNet(depth=14, shortcut=shortcut), (3, 6, 6), 4)
        points = lesions.delete_one(net, IMAGES, LABELS, chance())
        assert [number for number, _ in points] == [0, *expected]
        swapped = lesions.swap_neighbours(net, IMAGES, LABELS, chance())
        assert [number for number, _ in swapped] == [0, 1]  # the others stand beside a block that halves


def test_what_is_left_of_a_plain_block_is_its_input():
    block = Block(Times(3.0), None, nn.ReLU())
    assert torch.equal(lesions.Deleted(block)(IMAGES), IMAGES)


def test_paths_are_binomial_where_there_are_shortcuts():
    for shortcut, share in (("identity", [math.comb(6, k) / 64 for k in range(7)]), ("none", [0] * 6 + [1])):
        net = build(ResNet(depth=14, shortcut=shortcut), (3, 6, 6), 4)
        points = lesions.path_lengths(net, IMAGES, LABELS, chance())
        assert points == [(k, pytest.approx(100 * part)) for k, part in enumerate(share)]


def test_other_families_have_no_blocks():
    with pytest.raises(UserError, match="family resnet"):
        lesions.delete_one(nn.Sequential(nn.Flatten()), IMAGES, LABELS, chance())


@pytest.mark.parametrize("name", DIAGNOSTICS)
@pytest.mark.parametrize("order", ["post", "pre"])
def test_every_probe_takes_coloured_images_in_both_memory_formats(name, order):
    for memory_format in (torch.channels_last, torch.contiguous_format):
        for probe in PROBES.get(name, {"": MEASURES.get(name)}).values():
            model = ResNet(depth=8, order=order, dropout=0.5)
            net = build(model, (3, 6, 6), 4).to(memory_format=memory_format)
            found = probe(net, IMAGES, LABELS, chance())
            points = list(found.items()) if name in MEASURES else found
            assert points and all(math.isfinite(value) for *_, value in points)
            if name in MEASURES:
                assert set(found) == set(MECHANISMS[name].panels)


class Square(nn.Module):
    """Half the squared norm: its gradient is the input."""

    def forward(self, x):
        return x.square().flatten(1).sum(1, keepdim=True) / 2


def test_gradients_of_a_linear_network_do_not_shatter():
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 4))
    points = landscape.gradient_correlation(net, IMAGES, LABELS, chance())
    assert [place for place, _ in points] == [lag / 32 for lag in range(17)]
    assert [value for _, value in points] == pytest.approx([1] * 17)


def test_gradients_are_compared_along_the_line_between_images():
    first, last = torch.zeros(4, 1, 1, 2), torch.zeros(4, 1, 1, 2)
    first[..., 0] = last[..., 1] = 1.0  # at right angles
    points = landscape.gradient_correlation(
        nn.Sequential(Square()), torch.cat([first, last]), LABELS, chance()
    )
    angles = [math.atan2(step, 32 - step) for step in range(33)]
    for lag in (0, 1, 16):
        cosines = [math.cos(angles[step + lag] - angles[step]) for step in range(33 - lag)]
        assert dict(points)[lag / 32] == pytest.approx(sum(cosines) / len(cosines), rel=1e-5)


def test_each_filter_of_a_direction_has_the_norm_of_the_weights():
    weight = torch.randn(5, 3, 3, 3)
    weight[2] = 0
    direction = landscape.filter_normalised(weight, chance())
    assert torch.allclose(direction.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1))
    assert not landscape.filter_normalised(torch.ones(5), chance()).any()  # a bias or scale


def test_the_loss_along_a_direction():
    """Two classes and one input, x = 1: the loss is a logistic function of the difference of the weights."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    net[1].weight.data = torch.tensor([[2.0], [-1.0]])
    direction = landscape.filter_normalised(net[1].weight.data, chance()).flatten()
    assert direction.abs().tolist() == pytest.approx([2, 1])
    points = landscape.loss_curve(net, torch.ones(3, 1, 1, 1), torch.zeros(3, dtype=torch.long), chance())
    assert [place for place, _ in points] == [step / 4 for step in range(-4, 5)]
    for place, loss in points:
        difference = 3 + place * (direction[0] - direction[1]).item()
        assert loss == pytest.approx(math.log1p(math.exp(-difference)), rel=1e-4, abs=1e-6)


def test_the_loss_over_a_plane_is_that_along_both_of_its_directions():
    """The same as along one direction, with the sum of both in the place of it."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    net[1].weight.data = torch.tensor([[2.0], [-1.0]])
    random = chance()
    along, across = (landscape.filter_normalised(net[1].weight.data, random).flatten() for _ in range(2))
    images, labels = torch.ones(3, 1, 1, 1), torch.zeros(3, dtype=torch.long)
    points = landscape.loss_contour(net, images, labels, chance())
    assert len({(x, y) for x, y, _ in points}) == len(points) == 9 * 9
    for x, y, loss in points:
        (first, second) = (x * along + y * across).tolist()
        assert loss == pytest.approx(math.log1p(math.exp(second - first - 3)), rel=1e-4, abs=1e-6)


class Bowl(nn.Module):
    """Two logits, 0 and a parabola of one weight, so that the loss is a function of that weight alone."""

    def __init__(self, at: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(at))

    def forward(self, x):
        height = self.weight.square().expand(len(x))
        return torch.stack([torch.zeros_like(height), height], 1)


def test_the_loss_and_its_slope_down_the_gradient():
    """loss(w) = ln(1 + exp(w^2)), so that its slope is 2 w s(w^2) with the logistic function s."""

    def slope(w):
        return 2 * w / (1 + math.exp(-w * w))

    def loss(w):
        return math.log1p(math.exp(w * w))

    found = landscape.loss_along_gradient(Bowl(1.5), IMAGES, torch.zeros(8, dtype=torch.long), chance())
    steps = (0.05, 0.1, 0.2)
    ends = [1.5 - step * slope(1.5) for step in steps]
    changes = [abs(slope(1.5) - slope(w)) / (1.5 - w) for w in ends]
    assert found[SMOOTHNESS] == pytest.approx(max(changes), rel=1e-4)
    assert found[RANGE] == pytest.approx(loss(1.5) - min(map(loss, ends)), rel=1e-4)


def test_a_loss_that_overflows_is_infinite_and_a_flat_one_has_no_slope():
    labels = torch.zeros(8, dtype=torch.long)
    assert landscape.loss_along_gradient(Bowl(0.0), IMAGES, labels, chance()) == {}
    steep = landscape.loss_along_gradient(Bowl(1e30), IMAGES, labels, chance())
    assert steep == {RANGE: math.inf, SMOOTHNESS: math.inf}


# ------------------------------------------------------------------------------------------ Jacobians, moments


def scaled(*factors: float) -> nn.Conv2d:
    """A layer that multiplies each channel by a factor of its own."""
    layer = nn.Conv2d(len(factors), len(factors), 1, bias=False)
    layer.weight.data = torch.diag(torch.tensor(factors)).view(len(factors), len(factors), 1, 1)
    return layer


def test_the_gain_of_a_block_is_the_largest_factor_of_its_jacobian():
    """Of x + F(x) with F(x) = a x it is |1 + a|; of a plain block of two layers, the geometric mean of theirs."""
    net = residual(Times(0.5), Times(-3.0))
    assert signals.largest_gains(net, IMAGES, LABELS, chance()) == [
        (1, pytest.approx(1.5)),
        (2, pytest.approx(2.0)),
    ]
    net = nn.Sequential(
        Block(nn.Sequential(scaled(4.0, 1.0, 0.0), scaled(9.0, 1.0, 2.0)), None, nn.Identity()), nn.Flatten()
    )
    (found,) = signals.largest_gains(net, IMAGES, LABELS, chance())
    assert found == (1, pytest.approx(6.0, rel=1e-3))
    told = mechanisms.gain(pd.DataFrame({"value": [2.0, 8.0]}))
    assert told == pytest.approx(4.0) and mechanisms.gain(pd.DataFrame({"value": [2.0, 0.0]})) == 0


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=4), st.integers(0, 99))
def test_the_largest_singular_value_is_told_from_below_and_not_below_what_the_start_grows_by(factors, seed):
    factors = [*factors, 4.0]
    x = torch.randn(2, len(factors), 3, 3, generator=chance(), requires_grad=True)
    start = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    found = signals.largest_singular_value(scaled(*factors), x, start, chance())
    grown = (start * torch.tensor(factors).view(1, -1, 1, 1)).norm() / start.norm()
    assert grown.item() * (1 - 1e-5) <= found <= 4.0 * (1 + 1e-5)


def test_a_block_that_passes_nothing_back_has_no_gain_and_a_gradient_of_zero_is_no_start():
    x = torch.randn(2, 3, 3, 3, requires_grad=True)
    start = torch.randn(x.shape)
    assert signals.largest_singular_value(Times(0.0), x, start, chance()) == 0
    assert signals.largest_singular_value(Times(2.0), x, 0 * start, chance()) == pytest.approx(2.0)


@pytest.mark.parametrize("shortcut", ["none", "identity", "projection"])
@pytest.mark.parametrize("order", ["post", "pre"])
def test_no_gradient_is_above_its_bound(shortcut, order):
    torch.manual_seed(0)
    net, images, labels = (
        build(ResNet(depth=20, shortcut=shortcut, order=order), (1, 8, 8), 4),
        torch.randn(32, 1, 8, 8),
        torch.arange(32) % 4,
    )
    tables = [
        pd.DataFrame(probe(net, images, labels, chance()), columns=["position", "value"]).assign(seed=0)
        for probe in (signals.gradient_by_layer, signals.largest_gains)
    ]
    bound = mechanisms.bound(*tables)
    norms = tables[0].set_index("position")["value"]
    assert list(norms.index) == [1, *range(3, 20, 2), 20] and list(bound.index) == list(norms.index[:-1])
    assert bound.iloc[-1] == pytest.approx(norms.iloc[-2])
    assert (norms.iloc[:-1] <= bound * (1 + 1e-4)).all()
    whole = norms.iloc[-2] * mechanisms.gain(tables[1]) ** 18  # C lambda_J^L
    assert bound.iloc[0] == pytest.approx(whole, rel=1e-4)


def test_gradients_of_an_epoch_are_those_by_layer():
    net, images = rotations(0.7, 6), torch.randn(8, 1, 2, 2)
    norms = dict(signals.gradient_by_layer(net, images, LABELS, chance()))
    found = signals.gradients_now(rotations(0.7, 6), images, LABELS, chance())
    assert found[mechanisms.FIRST] == pytest.approx(norms[1]) and found[mechanisms.LAST] == pytest.approx(
        norms[6]
    )
    assert found[mechanisms.RATE] == pytest.approx(0.7, rel=1e-4)


def test_moments_are_those_of_what_enters_a_relu():
    """Each block passes on the ReLU of its input, two times it in the middle."""
    factors = (1.0, 1.0, 2.0, 1.0, 1.0)
    made = [Block(nn.Sequential(Times(factor), nn.ReLU()), None, nn.Identity()) for factor in factors]
    images = torch.tensor([1.0, 3.0, -2.0, 2.0]).view(2, 2, 1, 1)
    found = signals.activation_moments(nn.Sequential(*made, nn.Flatten()), images, LABELS, chance())
    entering = {"first block": [1, 3, -2, 2], "middle block": [2, 6, 0, 4], "last block": [2, 6, 0, 4]}
    assert found == {
        f"{moment}, {block}": pytest.approx(getattr(torch.tensor(values, dtype=torch.float), method)().item())
        for block, values in entering.items()
        for moment, method in (("mean", "mean"), ("deviation", "std"))
    }


# ------------------------------------------------------------------------------------------ uncertainty


def doubtful() -> nn.Sequential:
    """Logits (x, 0) where the only input x is kept, doubled, and (0, 0) where it is dropped."""
    net = nn.Sequential(nn.Flatten(), Dropout(0.5), nn.Linear(1, 2, bias=False))
    net[2].weight.data = torch.tensor([[1.0], [0.0]])
    return net.eval()


def test_the_entropy_is_that_of_the_mean_over_passes():
    images, labels = torch.tensor([1.0, 1.0, -1.0]).view(3, 1, 1, 1), torch.tensor([0, 1, 1])
    net, before = doubtful(), torch.get_rng_state()
    points = uncertainty.dropout_uncertainty(net, images, labels, chance())
    assert torch.equal(torch.get_rng_state(), before)
    assert [wrong for _, wrong in points] == [0, 100, 0]
    kept = 1 / (1 + math.exp(-2))
    possible = [(20 - k) / 20 * 0.5 + k / 20 * kept for k in range(1, 20)]  # k of 20 passes keep the input
    entropies = [-p * math.log(p) - (1 - p) * math.log(1 - p) for p in possible]
    for entropy, _ in points:
        assert min(abs(entropy - each) for each in entropies) < 1e-6
    assert len({round(entropy, 6) for entropy, _ in points}) > 1  # each image has its own passes


def test_where_nothing_is_dropped_there_is_nothing_to_tell():
    net = build(ResNet(depth=8), (3, 6, 6), 4)
    assert uncertainty.dropout_uncertainty(net, IMAGES, LABELS, chance()) == []


def test_norms_do_not_learn_from_the_images_that_they_are_tested_on():
    net = build(ResNet(depth=8, stochastic_depth=0.5), (3, 6, 6), 4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert uncertainty.dropout_uncertainty(net, IMAGES, LABELS, chance())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_auroc_is_the_part_of_pairs_in_order():
    run = pd.DataFrame({"position": [0.1, 0.2, 0.2, 0.4], "value": [0.0, 100.0, 0.0, 100.0]})
    assert mechanisms.auroc(run) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert math.isnan(mechanisms.auroc(run.assign(value=0.0)))


# ------------------------------------------------------------------------------------------ findings


@pytest.fixture(scope="module")
def studies():
    """The studies of the suite digits, as planned."""
    return make_plan(Library(None), "digits")


def drawn(planned, name, values, seeds=(0, 1, 2, 3, 4), diverged=()):
    """The table of a diagnostic: by panel and level the values at the positions from 1, the same for every seed, but
    none of the trained networks of the runs in `diverged`."""
    colour, rows = planned.study.diagnostics[name].colour, []
    for (panel, level), points in values.items():
        initial = panel in diagnostics.AT_INITIALISATION
        for seed in seeds:
            run = {colour: level, "seed": seed, "panel": panel}
            if (level, seed) in diverged and not initial:
                rows.append({**run, "status": "diverged"})
                continue
            status = "initial" if initial else "finished"
            rows += [{**run, "status": status, "position": n, "value": v} for n, v in enumerate(points, 1)]
    return pd.DataFrame(rows)


def by_rate(rates, layers=3):
    """Gradients of layers with a rate."""
    return [rates ** (layers - layer) for layer in range(1, layers + 1)]


INITIALLY = mechanisms.INITIAL


@pytest.mark.parametrize(
    ("plain", "residual", "told"),
    [
        (
            (2.0, 0.4),
            (1.1, 0.9),
            "In line with what is published (argued there from the equations, not measured like this): that $\\lambda$ is nearer to 1 with shortcuts",
        ),
        (
            (1.1, 0.9),
            (2.0, 0.4),
            "Not in line with what is published (argued there from the equations, not measured like this): that $\\lambda$ is nearer to 1 with shortcuts",
        ),
        (
            (2.0, 0.9),
            (1.1, 0.4),
            "Partly in line with what is published (argued there from the equations, not measured like this): that $\\lambda$ is nearer to 1 with shortcuts",
        ),
        ((0.6, 0.6), (1.5, 1.5), "In line with"),  # down by two fifths is further than up by half
    ],
)
def test_whether_it_is_as_published_follows_from_the_numbers(studies, plain, residual, told):
    planned = studies.study("depth")
    values = {
        (panel, level): by_rate(rates[place])
        for place, panel in enumerate((INITIALLY, TRAINED))
        for level, rates in (("none", plain), ("identity", residual))
    }
    table = drawn(planned, "gradient-by-layer", values)
    sentence = mechanism_findings.conclusion(planned, "gradient-by-layer", table)
    assert sentence.startswith(told)
    held = {"In": 2, "No": 0, "Pa": 1}[told[:2]]
    assert sentence.endswith(
        f"holds in {held} of 2 comparisons of arms, made without a test, by $\\lambda$ at initialisation and $\\lambda$ of "
        "trained networks."
    )
    assert mechanism_findings.paragraph(planned, "gradient-by-layer", table).endswith(sentence)


def test_each_arm_with_a_norm_is_compared_with_that_without(studies):
    planned = studies.study("batch_norm")
    ratios = {"none": 0.5, "post": 0.2, "norm after activation": 0.3, "norm after addition": 0.7, "pre": 0.1}
    values = {(INITIALLY, level): [1.0, ratio] for level, ratio in ratios.items()}
    told = mechanism_findings.conclusion(
        planned, "branch-variance", drawn(planned, "branch-variance", values)
    )
    assert told.startswith("Partly in line") and "in 3 of 4 comparisons of arms" in told
    assert told.endswith("by variance ratio of the last block (0.1 to 0.7 with a norm, 0.5 without).")


def test_what_cannot_be_compared_is_said(studies):
    """None of the trained networks without a norm has a rate; all of the networks of a study may be of one kind."""
    planned = studies.study("batch_norm")
    values = {(INITIALLY, "post"): [1.0, 0.2]}
    table = drawn(planned, "branch-variance", values)
    assert "cannot be said" in mechanism_findings.conclusion(planned, "branch-variance", table)
    depth = studies.study("depth")
    one = replace(depth, arms={key: arm for key, arm in depth.arms.items() if key[0] == "identity"})
    table = drawn(one, "response-magnitude", {(INITIALLY, "identity"): [1.0, 2.0]})
    told = mechanism_findings.conclusion(one, "response-magnitude", table)
    assert told == "Published comparisons are of other networks than these arms."


def test_uncertainty_is_held_against_chance(studies):
    planned = studies.study("regularisation")
    found = {
        "dropout 0.3": [0, 0, 100, 100],
        "DropConnect 0.3": [100, 0, 0, 100],
        "stochastic depth 0.5": [100, 100, 0, 0],
    }
    values = {(TRAINED, level): points for level, points in found.items()}
    table = drawn(planned, "dropout-uncertainty", values, seeds=(0, 1, 2))
    told = mechanism_findings.conclusion(planned, "dropout-uncertainty", table)
    assert "in 1 of 3 comparisons" in told and told.endswith("by AUROC.")


def test_what_follows_from_the_definition_has_no_seeds(studies):
    planned = studies.study("depth")
    values = {(mechanisms.ANY, "none"): [0, 100.0], (mechanisms.ANY, "identity"): [50.0, 50.0]}
    table = drawn(planned, "path-lengths", values)
    assert "by construction" in mechanism_findings.conclusion(planned, "path-lengths", table)
    caption = mechanism_findings.caption(planned, "path-lengths", table)
    assert "seed" not in caption and "runs" not in caption
    assert caption.startswith(
        "**Lengths of paths, depth 20.** Mean number of transforms on a path is lowest with shortcut *identity* (1.5) and"
    )


def test_a_caption_begins_with_what_was_found_and_counts_the_seeds_that_are_there(studies):
    planned = studies.study("batch_norm")
    rates = {"none": 3.0, "post": 1.0, "pre": 1.5}
    values = {
        (panel, level): by_rate(rate) for panel in (INITIALLY, TRAINED) for level, rate in rates.items()
    }
    lost = [("none", seed) for seed in range(2)]
    table = drawn(planned, "gradient-by-layer", values, seeds=(0, 1, 2), diverged=lost)
    told = mechanism_findings.caption(planned, "gradient-by-layer", table)
    assert told.startswith(
        "**Gradient by layer, depth 44.** $\\lambda$ at initialisation is lowest with order *post* (1) and highest with "
        "*none* (3);"
    )
    assert (
        ". n = 3 seeds an arm, the first of 5, to save time, but 1 of *none*, trained (2 diverged); thin lines"
        in told
    )
    table = table[(table["order"] != "pre") | (table["seed"] > 0) | (table["panel"] != TRAINED)]
    told = mechanism_findings.seeds(planned, "gradient-by-layer", table)
    assert told.endswith("but 1 of *none*, trained (2 diverged) and 2 of *pre*, trained (1 not finished)")
    table = drawn(planned, "loss-along-gradient", {(SMOOTHNESS, "post"): [1.0, 2.0]}, seeds=(0, 1, 2))
    told = mechanism_findings.caption(planned, "loss-along-gradient", table)
    assert ". n = 3 seeds an arm, the first of 5, to save time; " in told


def test_of_many_arms_the_extremes_of_every_panel_that_the_text_tells_are_told(studies):
    planned = studies.study("batch_norm")
    levels = [level.label for level in planned.factors["order"].levels]
    panels = [panel for panel, row in MECHANISMS["activation-moments"].panels.items() if row.told]
    assert panels == ["deviation, first block", "deviation, middle block", "deviation, last block"]
    values = {
        (panel, level): [n, n]
        for panel in MECHANISMS["activation-moments"].panels
        for n, level in enumerate(levels, 1)
    }
    told = mechanism_findings.findings(
        planned, "activation-moments", drawn(planned, "activation-moments", values)
    )
    assert told == [
        "Deviation, first block, by order (the lowest and the highest of 5): *none* 1.00 at first, 1.00 after epoch 2; *pre* "
        "5.00 at first, 5.00 after epoch 2.",
        "Deviation, middle block: *none* 1.00 at first, 1.00 after epoch 2; *pre* 5.00 at first, 5.00 after epoch 2.",
        "Deviation, last block: *none* 1.00 at first, 1.00 after epoch 2; *pre* 5.00 at first, 5.00 after epoch 2.",
    ]
    few = {(panel, level): points for (panel, level), points in values.items() if level in levels[:3]}
    told = mechanism_findings.findings(
        planned, "activation-moments", drawn(planned, "activation-moments", few)
    )
    assert len(told) == len(panels) and all("*post*" in sentence for sentence in told)


def test_on_a_logarithmic_axis_one_run_does_not_outweigh_the_others():
    points = pd.DataFrame({"position": [0] * 3 + [1] * 3, "value": [1.0, 2.0, 6e5, 3.0, 3.0, math.inf]})
    assert MECHANISMS["loss-curve"].panels[TRAINED].curve(points).tolist() == [2, 3]
    assert MECHANISMS["response-magnitude"].panels[TRAINED].curve(points).tolist()[0] > 2e5
    assert mechanism_findings.lines("loss-curve").endswith("medians")
    assert mechanism_findings.lines("lesions").endswith("means")


def test_the_bound_goes_back_from_the_last_block_by_the_gains_of_the_blocks():
    gradients = pd.DataFrame({"seed": 0, "position": [1, 3, 5, 6], "value": [9.0, 9.0, 2.0, 7.0]})
    gains = pd.DataFrame({"seed": 0, "position": [1, 2], "value": [3.0, 2.0]})
    assert mechanisms.bound(gradients, gains).to_dict() == pytest.approx({1: 2 * 4 * 9, 3: 2 * 4, 5: 2})
    both = [
        pd.concat([table, table.assign(seed=1, value=2 * table["value"])]) for table in (gradients, gains)
    ]
    assert mechanisms.bound(*both).to_dict() == pytest.approx(
        {1: (72 + 4 * 16 * 36) / 2, 3: (8 + 4 * 16) / 2, 5: 3}
    )
    assert mechanisms.bound(gradients, gains.iloc[:0]).empty
    assert mechanisms.bound(gradients, gains.iloc[:1]).empty  # of other layers


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *((0.0, "0"), (0.5, "0.5"), (-0.0039, "−0.0039"), (0.001, "0.001"), (1234.5, "1,230"), (999_999.0, "1,000,000")),
        *((14.9e6, "1.49 × 10^7^"), (-4.2e-5, "−4.2 × 10^−5^"), (math.inf, "inf")),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value, told):
    assert mechanisms.number(value) == told


# ------------------------------------------------------------------------------------------ definitions

FACTORS = {"factors": {"shortcut": ["none", "identity"], "depth": [8, 14]}}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"gradients": {"colour": "depth"}}, "diagnostics.gradients"),
        ({"lesions": {"colour": "width", "arms": {}}}, "diagnostics.lesions.colour: `width` is no factor"),
        (
            {"lesions": {"colour": "depth"}},
            "diagnostics.lesions.arms: give a level of each other factor: shortcut",
        ),
        ({"lesions": {"colour": "depth", "arms": {"depth": 8}}}, "diagnostics.lesions.arms: give a level"),
    ],
)
def test_wrong_diagnostics_are_named(asked, told):
    fields = {"title": "t", "question": "q", "background": "b", **FACTORS, "diagnostics": asked}
    with pytest.raises(Exception, match=re.escape(told)):
        validate(Study, fields, "here")


# ------------------------------------------------------------------------------------------ the way


SEEDS = (0, 1)


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory):
    """A folder where the study `depth` of a tiny suite was trained, except for a seed, and diagnosed."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("diagnosed")
        patch.chdir(folder)
        write(folder / "my" / "suites" / "tiny.yaml", TINY.format(seeds=2))
        options = ("--suite", "tiny", "--extra", "my")
        assert main(["train", "depth", "--seeds", "0", *options]) == 0
        assert main(["train", "depth", "shortcut=none", "--seeds", "1", *options]) == 0
        assert main(["diagnose", "depth", *options]) == 0
        assert main(["report", "depth", *options]) == 0
        yield folder


def measured(folder):
    """The planned study, and its diagnostics of arms that the suite has."""
    planned = make_plan(Library(folder / "my"), "tiny").study("depth")
    return planned, [
        name for name, asked in planned.study.diagnostics.items() if asked.arms["depth"] == "last"
    ]


def test_tables_have_every_run_that_is_there(diagnosed):
    _, names = measured(diagnosed)
    assert {"gradient-by-layer", "gradient-through-training", "loss-contour"} <= set(names)
    for name in names:
        table = pd.read_csv(diagnosed / layout.diagnostic("tiny", "depth", name), keep_default_na=False)
        for panel, of_panel in table.groupby("panel"):
            runs = set(zip(of_panel["shortcut"], of_panel["seed"], strict=True))
            expected = {("none", 0), ("none", 1), ("identity", 0)}
            if panel in diagnostics.AT_INITIALISATION or name in MEASURES:
                expected.add(("identity", 1))
            assert runs == {(arm, seed) for arm, seed in expected if seed in SEEDS[: MECHANISMS[name].seeds]}


def test_the_report_shows_and_tells_each_diagnostic(diagnosed):
    planned, names = measured(diagnosed)
    text = (diagnosed / "report" / "tiny" / "depth.md").read_text()
    for name in names:
        assert MECHANISMS[name].title in text and f"figures/depth/{name}.svg" in text
        assert (diagnosed / layout.figures("tiny", "depth") / f"{name}.svg").is_file()
    for name in set(planned.study.diagnostics) - set(names):
        assert f"**{MECHANISMS[name].title}.** Not measured: factor depth has no level" in text
        assert not (diagnosed / layout.figures("tiny", "depth") / f"{name}.svg").exists()


def test_tables_have_five_digits_and_places_lose_none(diagnosed):
    for path in (diagnosed / layout.diagnostic("tiny", "depth", "lesions")).parent.glob("*.csv"):
        assert not re.search(r"\d\.\d{10}", path.read_text())
    table = pd.read_csv(diagnosed / layout.diagnostic("tiny", "depth", "gradient-correlation"))
    assert set(table["position"]) == {lag / 32 for lag in range(17)}


def test_the_same_weights_give_the_same_table(diagnosed, monkeypatch):
    monkeypatch.chdir(diagnosed)
    path = layout.diagnostic("tiny", "depth", "loss-curve")
    before = path.read_bytes()
    assert main(["diagnose", "depth", "--suite", "tiny", "--extra", "my"]) == 0
    assert path.read_bytes() == before


def test_a_network_that_diverged_is_marked(diagnosed, monkeypatch):
    monkeypatch.chdir(diagnosed)
    monkeypatch.setattr(diagnostics.Store, "metrics", lambda self, run: {"status": "diverged"})
    planned, _ = measured(diagnosed)
    store = diagnostics.Store(layout.RESULTS)
    table = pd.DataFrame(diagnostics.measured(planned, planned.arms, "gradient-by-layer", store, {}, {}))
    trained = table[table["panel"] == TRAINED]
    assert len(trained) == 4 and set(trained["status"]) == {"diverged"} and trained["value"].isna().all()
    told = mechanism_findings.paragraph(planned, "gradient-by-layer", table)
    assert (
        "diverged have no trained network to measure: shortcut *none* (2 runs) and *identity* (2 runs)."
        in told
    )


def test_a_network_that_diverged_is_followed_until_then(diagnosed, monkeypatch):
    monkeypatch.chdir(diagnosed)
    planned, _ = measured(diagnosed)
    store = diagnostics.Store(layout.RESULTS)
    some = store.file(next(store.folder.iterdir()).name, WEIGHTS)
    monkeypatch.setattr(
        diagnostics.Store, "metrics", lambda self, run: {"status": "diverged", "epochs_trained": 3}
    )
    monkeypatch.setattr(diagnostics.Store, "snapshots", lambda self, run: [1, 2])
    monkeypatch.setattr(diagnostics.Store, "file", lambda self, run, name: some)
    arms = planned.select({"shortcut": "identity"})
    table = pd.DataFrame(diagnostics.measured(planned, arms, "gradient-through-training", store, {}, {}))
    for _, points in table.groupby(["seed", "panel"]):
        assert points["position"].tolist()[:3] == [0, 1, 2] and math.isnan(points["position"].iloc[3])
        assert points["status"].tolist() == ["initial", *["diverged"] * 3]
    told = mechanism_findings.paragraph(planned, "gradient-through-training", table)
    assert (
        "after epoch 2" in told
        and "diverged have no trained network to measure: shortcut *identity* (2 runs)." in told
    )


def test_what_there_is_nothing_of_is_said_not_drawn(diagnosed, monkeypatch):
    monkeypatch.chdir(diagnosed)
    assert main(["diagnose", "regularisation", "--suite", "tiny", "--extra", "my"]) == 0  # no run is there
    plan = make_plan(Library(diagnosed / "my"), "tiny")
    context = diagnostic_context(plan, plan.study("regularisation"), "dropout-uncertainty", Path("figures"))
    assert context["path"] is None
    assert context["text"].startswith("Not measured: the networks of these arms drop nothing, or none")


def test_where_every_run_diverged_there_is_no_figure(diagnosed, monkeypatch):
    monkeypatch.chdir(diagnosed)
    plan = make_plan(Library(diagnosed / "my"), "tiny")
    kept = {path: path.read_bytes() for path in Path("results/tiny/depth/diagnostics").iterdir()}
    metrics = {"status": "diverged", "epochs_trained": 1}
    monkeypatch.setattr(diagnostics.Store, "metrics", lambda self, run: metrics)
    diagnostics.diagnose(plan, "depth")
    figures.draw(plan, "depth")
    for name in ("loss-contour", "loss-curve"):
        context = diagnostic_context(plan, plan.study("depth"), name, Path("figures"))
        assert (
            context["path"] is None and "no trained network to measure: shortcut *none* (" in context["text"]
        )
        assert not (layout.figures("tiny", "depth") / f"{name}.svg").exists()
    assert (layout.figures("tiny", "depth") / "gradient-by-layer.svg").is_file()
    for path, content in kept.items():
        path.write_bytes(content)
    figures.draw(plan, "depth")


def test_networks_without_blocks_have_gradients_but_no_gains():
    net = rotations(0.7, 3)
    assert signals.largest_gains(net, torch.randn(8, 1, 2, 2), LABELS, chance()) == []


@pytest.mark.parametrize(("gain", "top"), [(3.0, 6.0), (1e9, 2e9)])
def test_bounds_stand_in_the_panels_of_gradients_and_leave_them_most_of_the_axis(studies, gain, top):
    planned = studies.study("depth")
    values = {(panel, "none"): [1.0, 2.0, 1.0] for panel in (INITIALLY, TRAINED)}
    values |= {
        (panel, "none"): [gain] for panel in (mechanisms.JACOBIANS_INITIAL, mechanisms.JACOBIANS_TRAINED)
    }
    draw_diagnostic(planned, "gradient-by-layer", drawn(planned, "gradient-by-layer", values))
    for ax in plt.gcf().axes:
        dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert len(dashed) == (1 if ax.get_title() in (INITIALLY, TRAINED) else 0)
        if dashed:
            assert list(dashed[0].get_ydata()) == pytest.approx([top, 2.0]) and 2 < ax.get_ylim()[1] < 8
    plt.close()


def test_contours_have_a_bar_with_their_heights(diagnosed, monkeypatch):
    monkeypatch.chdir(diagnosed)
    planned, _ = measured(diagnosed)
    table = mechanisms.read_diagnostic("tiny", planned, "loss-contour")
    draw_diagnostic(planned, "loss-contour", table)
    *_, bar = plt.gcf().axes
    assert bar.get_ylabel() == "loss (nats)" and any(tick.get_text() for tick in bar.get_yticklabels())
    plt.close()


def test_points_are_drawn_by_fifths_of_each_run():
    run = {"seed": 0, "position": [0.5, 0.1, 0.4, 0.2, 0.3, 0.9, 0.8, 0.7, 0.6, 1.0]}
    table = pd.DataFrame({**run, "value": [5, 1, 4, 2, 3, 9, 8, 7, 6, 10]})
    found = fifths(pd.concat([table, table.assign(seed=1, value=100)]), ["seed"])
    assert found[found["seed"] == 0]["position"].tolist() == [1, 2, 3, 4, 5]
    assert found[found["seed"] == 0]["value"].tolist() == [1.5, 3.5, 5.5, 7.5, 9.5]
    assert found[found["seed"] == 1]["value"].tolist() == [100] * 5


def test_contours_stand_at_round_numbers_on_both_sides():
    for low, high, between in ((0.3, 30, [0.5, 1, 2, 5, 10, 20]), (0.3, 3e5, [1, 10, 100, 1e3, 1e4, 1e5])):
        heights = contours(low, high)
        assert [x for x in heights if low < x < high] == pytest.approx(between)
        assert heights[0] < low and heights[-1] > high


def test_a_study_without_diagnostics_says_so(workspace, capsys):
    assert main(["diagnose", "shortcuts"]) == 2
    assert "study shortcuts names no diagnostics" in capsys.readouterr().err


def test_what_reads_the_tables_does_not_import_torch():
    code = "import sys, ablations.figures, ablations.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
