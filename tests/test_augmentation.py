"""Augmentation against torchvision and against plain loops, one image at a time."""

from __future__ import annotations

from functools import cache, partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import RandAugment

from ablations.config import Recipe
from ablations.training.augmentation import Draws, Targets, augment
from ablations.training.rand_augment import OPERATIONS, factors, motions, rand_augment
from ablations.training.streams import stream

CPU = torch.device("cpu")
# The exact result of a blend is often a whole number, and float32 falls just below it or not. torchvision
# weighs both images before it adds them, ours weighs their difference: there they are one grey level apart.
ROUNDED = {"Color": 0.15, "Contrast": 0.4, "Sharpness": 0.02}  # part of the pixels at most
# Shears of these magnitudes fetch from places just between two pixels. torchvision goes by way of fractions
# of the image, which are rounded unless its sides are powers of two.
TIES = (4, 12, 20, 28)
seeds = st.integers(0, 2**31)
sizes = st.tuples(st.sampled_from([1, 3]), st.integers(3, 9), st.integers(3, 9))


@pytest.fixture(autouse=True, scope="module")
def only_deterministic_operations():
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    yield
    torch.set_deterministic_debug_mode(before)


def recipe_of(**changes) -> Recipe:
    return Recipe(epochs=1, learning_rate=0.1, **{"batch_size": 6, **changes})


def draws_of(n, recipe, shape, seed=0) -> Draws:
    return Draws.of(n, recipe, shape, cache(partial(stream, seed)))


def cut(draws, batch) -> Draws:
    return Draws(**{name: values[batch] for name, values in draws.present.items()})


def photos(n, shape, seed=0):
    """Noise of high and low contrast, in few steps, and with a channel of one value, uint8."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), generator=random, dtype=torch.uint8)
    images[1::4] = images[1::4] // 5 + 90
    images[2::4] = images[2::4] // 64 * 64
    images[3::4, 0] = 77
    return images


def augmented(raw, draws, recipe):
    """With the normalisation left out."""
    mean, std = torch.zeros(1, raw.shape[1], 1, 1), torch.ones(1, raw.shape[1], 1, 1)
    return augment(raw, torch.arange(len(raw)), draws, recipe, mean, std)


# ------------------------------------------------------------------------------------------ RandAugment


def reference(image, name, magnitude, sign):
    """One operation of torchvision's RandAugment with its own strength."""
    strengths, signed = RandAugment._AUGMENTATION_SPACE[name]
    strengths = strengths(31, *image.shape[1:])
    strength = 0.0 if strengths is None else float(strengths[magnitude]) * (sign if signed else 1)
    transform = RandAugment()
    return transform._apply_image_or_video_transform(
        image, name, strength, interpolation=transform.interpolation, fill=transform._fill
    )


def test_the_operations_are_torchvisions():
    assert tuple(RandAugment._AUGMENTATION_SPACE) == OPERATIONS


@pytest.mark.parametrize(
    ("shape", "magnitude"),
    [
        (shape, magnitude)
        for shape in [(1, 8, 8), (3, 8, 8), (1, 32, 32), (3, 32, 32), (3, 16, 32), (1, 28, 28), (3, 9, 30)]
        for magnitude in (0, 1, 4, 5, 9, 10, 14, 20, 23, 30)
        if shape[1] in (8, 16, 32) or magnitude not in TIES
    ],
)
def test_each_operation_equals_torchvisions(shape, magnitude):
    images = photos(4, shape)
    for plus, sign in enumerate((-1, 1)):
        # One batch of every operation on every image: each image gets its own and no other.
        operations = torch.arange(len(OPERATIONS)).repeat_interleave(4)[:, None]
        found = rand_augment(
            images.float().repeat(len(OPERATIONS), 1, 1, 1),
            operations,
            motions(magnitude, *shape[1:])[operations, plus],
            factors(magnitude)[plus].expand(operations.shape),
            magnitude,
        ).split(4)
        for name, ours in zip(OPERATIONS, found, strict=True):
            theirs = torch.stack([reference(image, name, magnitude, sign) for image in images]).float()
            if name in ROUNDED:
                away = (ours - theirs).abs()
                assert away.max() <= 1 and away.mean() < ROUNDED[name], name
            else:
                assert torch.equal(ours, theirs), name


@given(sizes, st.sampled_from(list(ROUNDED)), st.integers(0, 30), st.integers(0, 1), st.integers(0, 255))
def test_an_image_of_one_grey_blends_with_itself_unchanged(shape, name, magnitude, plus, value):
    images, operations = torch.full((1, *shape), float(value)), torch.tensor([[OPERATIONS.index(name)]])
    factor = factors(magnitude)[plus].expand(1, 1)
    found = rand_augment(images, operations, torch.eye(2, 3).expand(1, 1, 2, 3), factor, magnitude)
    # The weights of red, green and blue add up to 0.9999 and the sum is cut to a whole number.
    cut = 1 if shape[0] == 3 and name != "Sharpness" else 0
    assert (found - images).abs().max() <= cut


@given(sizes, st.integers(0, 30), seeds)
def test_operations_follow_one_another(shape, magnitude, seed):
    raw = photos(5, shape, seed)
    recipe = recipe_of(rand_augment=3, rand_augment_magnitude=magnitude)
    draws = draws_of(5, recipe, shape, seed)
    found, _ = augmented(raw, draws, recipe)
    images = raw.float()
    for i in range(3):
        one = (values[:, i : i + 1] for values in (draws.operations, draws.motions, draws.factors))
        images = rand_augment(images, *one, magnitude)
    assert torch.equal(found, images)
    assert torch.equal(images, images.round()) and images.min() >= 0 and images.max() <= 255


def test_operations_and_signs_are_drawn_evenly():
    recipe = recipe_of(rand_augment=2, rand_augment_magnitude=30)
    draws = draws_of(7000, recipe, (3, 8, 8))
    counts = draws.operations.flatten().bincount()
    assert len(counts) == len(OPERATIONS) and counts.min() > 900 and counts.max() < 1100
    plus = draws.factors > 1
    assert 6800 < plus.sum() < 7200
    assert torch.equal(draws.motions, motions(30, 8, 8)[draws.operations, plus.long()])
    assert not torch.equal(plus[:, 0], plus[:, 1])


# ----------------------------------------------------------------------------------------- crop, flip, cutout


@given(sizes, st.integers(0, 4), st.booleans(), seeds)
def test_crop_and_flip_equal_cropping_one_image_at_a_time(shape, padding, flip, seed):
    raw = photos(5, shape, seed)
    recipe = recipe_of(crop_padding=padding, flip=flip)
    draws = draws_of(5, recipe, shape, seed)
    expected = []
    for i, image in enumerate(F.pad(raw.float(), [padding] * 4)):
        row, column = draws.crops[i].tolist() if padding else (0, 0)
        crop = image[:, row : row + shape[1], column : column + shape[2]]
        expected.append(crop.flip(2) if flip and draws.flips[i] else crop)
    assert torch.equal(augmented(raw, draws, recipe)[0], torch.stack(expected))


@given(sizes, st.integers(1, 12), seeds)
def test_cutout_equals_cutting_one_image_at_a_time(shape, side, seed):
    raw = photos(5, shape, seed) | 1  # nothing is zero before
    recipe = recipe_of(cutout=side)
    draws = draws_of(5, recipe, shape, seed)
    expected = raw.float()
    for i, (row, column) in enumerate(draws.holes.tolist()):
        top, left = row - side // 2, column - side // 2
        expected[i, :, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
    found, _ = augmented(raw, draws, recipe)
    assert torch.equal(found, expected)
    assert (found == 0).flatten(1).any(1).all()  # the centre lies in the image


def test_places_are_drawn_evenly():
    recipe = recipe_of(crop_padding=2, flip=True, cutout=3)
    draws = draws_of(4000, recipe, (1, 4, 5))
    assert 1900 < draws.flips.sum() < 2100
    for values, levels in (
        (draws.crops[:, 0], 5),
        (draws.crops[:, 1], 5),
        (draws.holes[:, 0], 4),
        (draws.holes[:, 1], 5),
    ):
        counts = values.bincount()
        assert len(counts) == levels
        assert 0.9 * 4000 / levels < counts.min() and counts.max() < 1.1 * 4000 / levels
    for places in (draws.crops, draws.holes):  # rows say nothing about columns
        assert abs(torch.corrcoef(places.float().T)[0, 1]) < 0.05


# ------------------------------------------------------------------------------------------ mixup, CutMix


@given(sizes, st.sampled_from([0.1, 1.0, 5.0]), seeds)
def test_mixup_equals_mixing_one_image_at_a_time(shape, alpha, seed):
    raw = photos(12, shape, seed)
    recipe = recipe_of(mixup=alpha)
    draws = draws_of(12, recipe, shape, seed)
    for batch in (slice(0, 6), slice(6, 12)):
        images, (found, targets) = raw[batch].float(), augmented(raw[batch], cut(draws, batch), recipe)
        share = targets.share
        assert torch.equal(draws.shares[batch], share.expand(6))
        expected = [share * images[i] + (1 - share) * images[targets.partners[i]] for i in range(6)]
        assert torch.equal(found, torch.stack(expected))


@given(sizes, st.sampled_from([0.1, 1.0, 5.0]), seeds)
def test_cutmix_equals_pasting_one_image_at_a_time(shape, alpha, seed):
    raw = photos(12, shape, seed)
    recipe = recipe_of(cutmix=alpha)
    draws = draws_of(12, recipe, shape, seed)
    for batch in (slice(0, 6), slice(6, 12)):
        found, targets = augmented(raw[batch], cut(draws, batch), recipe)
        expected = raw[batch].float()
        top, left, bottom, right = draws.boxes[batch][0].tolist()
        pasted = expected[targets.partners][:, :, top:bottom, left:right]
        expected[:, :, top:bottom, left:right] = pasted
        assert torch.equal(found, expected)
        assert 0 <= top <= bottom <= shape[1] and 0 <= left <= right <= shape[2]
        # The share is what the pasted part leaves, to the pixel.
        area = pasted[0, 0].numel()
        assert targets.share == torch.tensor(1 - area / (shape[1] * shape[2]), dtype=torch.float64).float()
        assert draws.boxes[batch].unique(dim=0).shape == (1, 4)


def test_boxes_have_the_area_that_lambda_asks_for_where_the_border_cuts_nothing():
    mixed, cut = (draws_of(3000, recipe_of(**{name: 1.0}), (3, 64, 64)) for name in ("mixup", "cutmix"))
    assert torch.equal(mixed.partners, cut.partners)  # mixup and CutMix differ in the mixing alone
    height, width = (cut.boxes[:, 2:] - cut.boxes[:, :2]).unbind(1)
    asked = (64 * (1 - mixed.shares).sqrt()).int() // 2 * 2
    assert (height <= asked).all() and (width <= asked).all()
    whole = (cut.boxes[:, :2] > 0).all(1) & (cut.boxes[:, 2:] < 64).all(1)
    assert whole.sum() > 100 and torch.equal(height[whole], asked[whole].long())
    assert torch.equal(width[whole], height[whole])


def test_partners_are_permutations_and_shares_follow_beta():
    for alpha in (0.2, 1.0):
        draws = draws_of(12_003, recipe_of(mixup=alpha), (1, 8, 8))
        assert len(draws.partners) == len(draws.shares) == 12_000  # full batches only
        assert torch.equal(draws.partners.view(-1, 6).sort(1).values, torch.arange(6).expand(2000, -1))
        fixed = (draws.partners.view(-1, 6) == torch.arange(6)).float().mean()
        assert abs(fixed - 1 / 6) < 0.02
        shares = draws.shares[::6]
        assert len(shares.unique()) > 1500
        assert abs(shares.mean() - 0.5) < 0.03 and abs(shares.var() - 1 / (8 * alpha + 4)) < 0.02


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1e3])
def test_shares_are_finite_for_every_alpha(alpha):
    assert draws_of(600, recipe_of(mixup=alpha), (1, 8, 8)).shares.isfinite().all()


@given(st.floats(0, 1), seeds)
def test_the_loss_is_that_of_mixed_labels(share, seed):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 4, generator=random, dtype=torch.float64)
    labels, partners = torch.randint(4, (2, 6), generator=random)
    soft = share * F.one_hot(labels, 4) + (1 - share) * F.one_hot(partners, 4)
    mixed = Targets(labels, partners, torch.tensor(share, dtype=torch.float64)).loss(logits)
    torch.testing.assert_close(mixed, F.cross_entropy(logits, soft))
    assert torch.equal(Targets(labels).loss(logits), F.cross_entropy(logits, labels))


# ------------------------------------------------------------------------------------------ all of it

EVERYTHING = {"crop_padding": 2, "flip": True, "rand_augment": 2, "cutout": 3}
FULL = [{**EVERYTHING, "mixup": 1.0}, {**EVERYTHING, "cutmix": 1.0}]


def test_crops_and_flips_are_the_same_whatever_else_is_drawn():
    plain = cache(partial(stream, 3))
    others = [cache(partial(stream, 3)) for _ in FULL]
    for _ in range(3):  # epochs
        expected = Draws.of(50, recipe_of(crop_padding=2, flip=True), (3, 8, 8), plain)
        for changes, streams in zip(FULL, others, strict=True):
            draws = Draws.of(50, recipe_of(**changes, batch_size=7), (3, 8, 8), streams)
            assert torch.equal(draws.crops, expected.crops) and torch.equal(draws.flips, expected.flips)
    first = draws_of(50, recipe_of(crop_padding=2, flip=True), (3, 8, 8), seed=3)
    assert not torch.equal(first.crops, expected.crops)


def test_what_the_recipe_leaves_out_is_not_drawn():
    def nothing(name):
        raise AssertionError(f"drew {name}")

    draws = Draws.of(50, recipe_of(), (3, 8, 8), nothing)
    assert draws == Draws() and draws.present == {}
    full = draws_of(50, recipe_of(**FULL[1]), (3, 8, 8))
    assert list(full.present) == list(vars(full))


@pytest.mark.parametrize("changes", FULL, ids=["mixup", "cutmix"])
def test_the_order_is_rand_augment_normalisation_crop_flip_cutout_mixing(changes):
    raw, labels = photos(6, (3, 8, 8)), torch.arange(6)
    mean, std = (
        torch.tensor([100.0, 120, 140]).view(1, -1, 1, 1),
        torch.tensor([50.0, 60, 70]).view(1, -1, 1, 1),
    )
    recipe = recipe_of(**changes)
    draws = draws_of(6, recipe, (3, 8, 8))

    def only(images, *names):
        chosen = recipe_of(**{name: changes[name] for name in names})
        return augment(images, labels, draws, chosen, torch.zeros(()), torch.ones(()))[0]

    images = (only(raw, "rand_augment") - mean) / std
    images = only(images, "crop_padding", "flip")
    images = only(images, "cutout")
    images = only(images, "mixup" if "mixup" in changes else "cutmix")
    found, targets = augment(raw, labels, draws, recipe, mean, std)
    assert torch.equal(found, images)
    assert torch.equal(targets.partners, labels[draws.partners]) and torch.equal(targets.labels, labels)


def test_without_augmentation_images_are_only_normalised():
    raw, labels = photos(6, (3, 8, 8)), torch.arange(6)
    found, targets = augment(raw, labels, Draws(), recipe_of(), torch.tensor(3.0), torch.tensor(2.0))
    assert torch.equal(found, (raw.float() - 3) / 2)
    assert targets == Targets(labels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("changes", FULL, ids=["mixup", "cutmix"])
def test_nothing_waits_for_the_device_and_shapes_are_static(channels, changes):
    # Tensors without values: reading one on the host or a shape that depends on one is an error.
    recipe, meta = recipe_of(**changes), torch.device("meta")
    drawn = Draws.of(6, recipe, (channels, 8, 9), cache(partial(stream, 0)))
    draws = Draws(**{name: values.to(meta) for name, values in drawn.present.items()})
    raw = torch.empty(6, channels, 8, 9, dtype=torch.uint8, device=meta)
    scale = torch.empty(1, channels, 1, 1, device=meta)
    images, targets = augment(raw, torch.empty(6, dtype=torch.long, device=meta), draws, recipe, scale, scale)
    assert images.shape == raw.shape and images.dtype == torch.float32
    assert targets.loss(torch.empty(6, 4, device=meta)).shape == ()
