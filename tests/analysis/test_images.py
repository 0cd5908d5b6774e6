"""Real images that are not what a model makes are refused, with the conversion that makes them so."""

import re

import numpy as np
import pytest
import torch
from generators import Planted
from torch import Tensor
from world import PLACES, phi, render

from analysis import measure_model
from analysis.experiment.images import checked_images
from analysis.experiment.subject import SMALLEST
from analysis.features.factors import Factors
from analysis.metrics.similarity import NEIGHBOURS

COLOUR = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
GREY = COLOUR[:, :1]
BYTES = ((COLOUR + 1) * 127.5).round().byte()


def fitted(images: object, drawn: Tensor) -> tuple[Tensor, list[str]]:
    """The images after all conversions that the errors name, one by one."""
    conversions: list[str] = []
    while len(conversions) < 5:
        try:
            return checked_images(images, drawn, 24), conversions
        except ValueError as error:
            conversions.append(re.sub("images must be .*: give ", "", str(error)))
            images = eval(conversions[-1], {"torch": torch, "images": images})
    raise AssertionError(conversions)


@pytest.mark.parametrize(
    ("images", "wanted", "steps"),
    [
        (COLOUR, COLOUR, 0),
        (COLOUR.double(), COLOUR, 0),
        (list(COLOUR), COLOUR, 1),
        (COLOUR.numpy(), COLOUR, 1),
        ((COLOUR + 1) / 2, COLOUR, 1),
        ((COLOUR + 1) * 127.5, COLOUR, 1),
        (COLOUR.permute(0, 2, 3, 1), COLOUR, 1),
        (BYTES, BYTES.float() / 127.5 - 1, 1),
        (BYTES.permute(0, 2, 3, 1).numpy(), BYTES.float() / 127.5 - 1, 3),
        (GREY, GREY.expand(-1, 3, -1, -1), 1),
        (COLOUR, COLOUR.mean(1, keepdim=True), 1),
        (GREY[:, 0], GREY, 1),
        (COLOUR.permute(0, 2, 3, 1), COLOUR.mean(1, keepdim=True), 2),
        (torch.cat([COLOUR, GREY], dim=1), COLOUR, 1),
        (torch.cat([COLOUR, GREY], dim=1).permute(0, 2, 3, 1), COLOUR, 2),
        (COLOUR > 0, (COLOUR > 0) * 2.0 - 1, 1),
        ((COLOUR > 0).long(), (COLOUR > 0) * 2.0 - 1, 1),
        ((COLOUR + 1) * 0.525, (COLOUR * 1.05 + 0.05).clamp(-1, 1), 1),
    ],
    ids=str,
)
def test_each_conversion_that_is_named_is_the_right_one(images, wanted, steps):
    found, conversions = fitted(images, wanted[:4])
    assert len(conversions) == steps
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_images_of_another_size_are_scaled():
    found, conversions = fitted(torch.nn.functional.interpolate(COLOUR, scale_factor=2, mode="nearest"), COLOUR[:4])
    assert found.shape == COLOUR.shape
    assert conversions == ["torch.nn.functional.interpolate(images, size=(8, 8), mode='bilinear', antialias=True)"]


@pytest.mark.parametrize("drawn", [GREY[:4], COLOUR[:4]])
def test_large_images_with_channels_last_keep_their_rows(drawn):
    large = torch.nn.functional.interpolate(COLOUR, scale_factor=2, mode="nearest")
    found, conversions = fitted(large.permute(0, 2, 3, 1), drawn)
    assert conversions[0] == "images.permute(0, 3, 1, 2)"
    torch.testing.assert_close(found, fitted(large, drawn)[0])


def test_rounding_beyond_the_range_is_no_fault_and_more_is():
    assert checked_images(COLOUR * 1.0005 / COLOUR.abs().max(), COLOUR[:4], 24).abs().max() == 1
    with pytest.raises(ValueError, match=r"images must be in \[-1, 1\], not in \[-2.*: give them scaled so that black"):
        checked_images(COLOUR * 2.1, COLOUR[:4], 24)


def test_bright_images_of_a_model_that_makes_bright_ones_are_taken():
    bright = (COLOUR + 1) / 2
    assert torch.equal(checked_images(bright, bright[:4], 24), bright)


@pytest.mark.parametrize("drawn", [(COLOUR[:4] + 1) / 2, (COLOUR[:4] + 1) * 127.5])
def test_a_model_whose_images_lie_elsewhere_is_not_called_unreal(drawn):
    told = r"model must make images in \[-1, 1\], as the real ones are: its lie in \[0.*have generate give 2"
    with pytest.raises(ValueError, match=told):
        checked_images(COLOUR, drawn, 24)
    # One whose images are all bright may be poor.
    assert torch.equal(checked_images(COLOUR, (COLOUR[:4] + 3) / 4, 24), COLOUR)


def test_values_that_are_no_numbers_and_too_few_are_named():
    with pytest.raises(ValueError, match="images must be finite: they hold NaN"):
        checked_images(COLOUR.where(COLOUR < 0.99, torch.nan), COLOUR[:4], 24)
    with pytest.raises(ValueError, match=r"N >= 24, not \(23, 3, 8, 8\)"):
        checked_images(COLOUR[:23], COLOUR[:4], 24)


def test_half_of_the_fewest_images_have_more_than_the_neighbours_that_are_compared():
    assert SMALLEST == 2 * (NEIGHBOURS + 2)


def test_large_factors_that_differ_little_are_told_apart():
    numbers = np.array([[1e9 + i] for i in range(5)])
    assert Factors.of(numbers).values[:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_measuring_refuses_them_and_takes_whole_numbers_of_any_type():
    real = render(PLACES)
    with pytest.raises(ValueError, match=r"images must be in .*: give images / 127.5 - 1"):
        measure_model(Planted(), (real + 1) * 127.5, phi, n=24)
    rows = {kind: measure_model(Planted(), real, phi, n=kind(24), properties=["density"]) for kind in (int, np.int64)}
    assert rows[int].equals(rows[np.int64])
