"""Probes against cases computed by hand, and the way from a study's diagnostics to its report."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import pandas as pd
import pytest
import torch
from conftest import ROOT, TINY, write
from torch import nn

from ablations import diagnostics, layout, mechanisms
from ablations.cli import main
from ablations.config import DIAGNOSTICS, Library, Study
from ablations.errors import UserError
from ablations.mechanisms import ANY, INITIAL, MECHANISMS, TRAINED
from ablations.models import build
from ablations.models.blocks import Block
from ablations.models.shortcuts import Identity
from ablations.networks import ResNet
from ablations.plan import make_plan
from ablations.schema import validate

IMAGES, LABELS = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4


def chance():
    return torch.Generator().manual_seed(0)


def test_every_mechanism_has_its_probes():
    assert set(MECHANISMS) == set(diagnostics.PROBES) == set(DIAGNOSTICS)
    for name, mechanism in MECHANISMS.items():
        assert list(mechanism.panels) == list(diagnostics.PROBES[name])


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
    points = diagnostics.gradient_by_layer(net, images, LABELS, chance())
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


def test_the_response_is_the_deviation_of_the_transform():
    points = diagnostics.response_magnitude(residual(Times(0.5), Times(2)), IMAGES, LABELS, chance())
    assert [number for number, _ in points] == [1, 2]
    deviation = IMAGES.std().item()
    assert [value for _, value in points] == pytest.approx([0.5 * deviation, 2 * 1.5 * deviation], rel=1e-5)


def test_the_variance_of_the_branch_is_counted_against_the_shortcut():
    net = residual(Times(0.0), Times(0.5), Times(-2.0))
    points = diagnostics.branch_variance(net, IMAGES, LABELS, chance())
    assert points == [(1, 0.0), (2, pytest.approx(0.25)), (3, pytest.approx(4.0))]


def test_with_batch_norm_the_share_of_a_block_falls_as_its_number():
    """Pre-activated, one stage: each transform adds about the same variance (De & Smith 2020)."""
    torch.manual_seed(0)
    net = build(ResNet(blocks=[16], widths=[32], order="pre"), (3, 8, 8), 4)
    points = dict(diagnostics.branch_variance(net, torch.randn(64, 3, 8, 8), LABELS, chance()))
    first = points[2] * 2  # the first block's shortcut is normalised with its transform's input
    assert all(0.5 * first < ratio * number < 2 * first for number, ratio in points.items() if number > 1)


PAIR = torch.tensor([[1.0, 2.0], [3.0, 1.0]]).view(2, 2, 1, 1)  # two images of two channels and a pixel


def test_a_block_that_adds_nothing_can_be_deleted():
    net, labels = residual(Times(0.0), Times(-2.0), channels=2), torch.tensor([0, 1])  # x, then -x
    assert diagnostics.delete_one(net, PAIR, labels, chance()) == [(0, 0.0), (1, 0.0), (2, 100.0)]
    nothing = residual(*[Times(0.0)] * 4, channels=2)
    points = diagnostics.delete_several(nothing, PAIR, torch.tensor([1, 1]), chance())
    assert points == [(count, 50.0) for count in range(5)]


def test_all_blocks_are_deleted_in_the_end():
    net = residual(Times(0.0), Times(-2.0), channels=2)
    points = diagnostics.delete_several(net, PAIR, torch.tensor([0, 1]), chance())
    assert points[0] == (0, 0.0) and points[2] == (2, 100.0)


def test_neighbours_are_swapped():
    """-(x + (4, 0)) has its larger logit in the second place, -x + (4, 0) in the first."""
    net = residual(Plus(4.0, 0.0), Times(-2.0), Times(0.0), channels=2)
    points = diagnostics.swap_neighbours(net, PAIR, torch.tensor([1, 1]), chance())
    assert points == [(0, 0.0), (1, 100.0), (2, 0.0)]


def test_a_plain_network_keeps_the_blocks_that_change_the_shape():
    for shortcut, expected in (("none", [1, 2, 4, 6]), ("identity", [1, 2, 3, 4, 5, 6])):
        net = build(ResNet(depth=14, shortcut=shortcut), (3, 6, 6), 4)
        points = diagnostics.delete_one(net, IMAGES, LABELS, chance())
        assert [number for number, _ in points] == [0, *expected]
        swapped = diagnostics.swap_neighbours(net, IMAGES, LABELS, chance())
        assert [number for number, _ in swapped] == [0, 1]  # the others stand beside a block that halves


def test_what_is_left_of_a_plain_block_is_its_input():
    block = Block(Times(3.0), None, nn.ReLU())
    assert torch.equal(diagnostics.Deleted(block)(IMAGES), IMAGES)


def test_paths_are_binomial_where_there_are_shortcuts():
    for shortcut, share in (("identity", [math.comb(6, k) / 64 for k in range(7)]), ("none", [0] * 6 + [1])):
        net = build(ResNet(depth=14, shortcut=shortcut), (3, 6, 6), 4)
        points = diagnostics.path_lengths(net, IMAGES, LABELS, chance())
        assert points == [(k, pytest.approx(100 * part)) for k, part in enumerate(share)]


def test_other_families_have_no_blocks():
    with pytest.raises(UserError, match="family resnet"):
        diagnostics.delete_one(nn.Sequential(nn.Flatten()), IMAGES, LABELS, chance())


@pytest.mark.parametrize("name", DIAGNOSTICS)
@pytest.mark.parametrize("order", ["post", "pre"])
def test_every_probe_takes_coloured_images_in_both_memory_formats(name, order):
    for memory_format in (torch.channels_last, torch.contiguous_format):
        for probe in diagnostics.PROBES[name].values():
            net = build(ResNet(depth=8, order=order), (3, 6, 6), 4).to(memory_format=memory_format)
            points = probe(net, IMAGES, LABELS, chance())
            assert points and all(math.isfinite(value) for _, value in points)


class Square(nn.Module):
    """Half the squared norm: its gradient is the input."""

    def forward(self, x):
        return x.square().flatten(1).sum(1, keepdim=True) / 2


def test_gradients_of_a_linear_network_do_not_shatter():
    net = nn.Sequential(nn.Flatten(), nn.Linear(108, 4))
    points = diagnostics.gradient_correlation(net, IMAGES, LABELS, chance())
    assert [place for place, _ in points] == [lag / 32 for lag in range(17)]
    assert [value for _, value in points] == pytest.approx([1] * 17)


def test_gradients_are_compared_along_the_line_between_images():
    first, last = torch.zeros(4, 1, 1, 2), torch.zeros(4, 1, 1, 2)
    first[..., 0] = last[..., 1] = 1.0  # at right angles
    points = diagnostics.gradient_correlation(
        nn.Sequential(Square()), torch.cat([first, last]), LABELS, chance()
    )
    angles = [math.atan2(step, 32 - step) for step in range(33)]
    for lag in (0, 1, 16):
        cosines = [math.cos(angles[step + lag] - angles[step]) for step in range(33 - lag)]
        assert dict(points)[lag / 32] == pytest.approx(sum(cosines) / len(cosines), rel=1e-5)


def test_each_filter_of_a_direction_has_the_norm_of_the_weights():
    weight = torch.randn(5, 3, 3, 3)
    weight[2] = 0
    direction = diagnostics.filter_normalised(weight, chance())
    assert torch.allclose(direction.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1))
    assert not diagnostics.filter_normalised(torch.ones(5), chance()).any()  # a bias or scale


def test_the_loss_along_a_direction():
    """Two classes and one input, x = 1: the loss is a logistic function of the difference of the weights."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    net[1].weight.data = torch.tensor([[2.0], [-1.0]])
    direction = diagnostics.filter_normalised(net[1].weight.data, chance()).flatten()
    assert direction.abs().tolist() == pytest.approx([2, 1])
    points = diagnostics.loss_curve(net, torch.ones(3, 1, 1, 1), torch.zeros(3, dtype=torch.long), chance())
    assert len(points) == 21
    for place, loss in points:
        difference = 3 + place * (direction[0] - direction[1]).item()
        assert loss == pytest.approx(math.log1p(math.exp(-difference)), rel=1e-4, abs=1e-6)


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
    for name in names:
        table = pd.read_csv(diagnosed / layout.diagnostic("tiny", "depth", name), keep_default_na=False)
        for panel, of_panel in table.groupby("panel"):
            runs = set(zip(of_panel["shortcut"], of_panel["seed"], strict=True))
            expected = {("none", 0), ("none", 1), ("identity", 0)}
            assert runs == expected | ({("identity", 1)} if panel in (INITIAL, ANY) else set())


def test_the_report_shows_and_tells_each_diagnostic(diagnosed):
    planned, names = measured(diagnosed)
    text = (diagnosed / "report" / "tiny" / "depth.md").read_text()
    for name in names:
        assert MECHANISMS[name].title in text and f"figures/depth/{name}.svg" in text
        assert (diagnosed / layout.figures("tiny", "depth") / f"{name}.svg").is_file()
    for name in set(planned.study.diagnostics) - set(names):
        assert f"**{MECHANISMS[name].title}.** Not measured: factor depth has no level" in text
        assert not (diagnosed / layout.figures("tiny", "depth") / f"{name}.svg").exists()


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
    table = pd.DataFrame(diagnostics.measured(planned, planned.arms, "gradient-by-layer", store, {}))
    trained = table[table["panel"] == TRAINED]
    assert len(trained) == 4 and set(trained["status"]) == {"diverged"} and trained["value"].isna().all()
    told = mechanisms.paragraph(planned, "gradient-by-layer", table)
    assert "diverged have no trained network to measure: none (2), identity (2)." in told


def test_a_study_without_diagnostics_says_so(workspace, capsys):
    assert main(["diagnose", "width"]) == 2
    assert "study width names no diagnostics" in capsys.readouterr().err


def test_what_reads_the_tables_does_not_import_torch():
    code = "import sys, ablations.figures, ablations.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
