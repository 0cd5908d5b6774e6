import numpy as np
import pytest
import torch

from analysis.gaussian import GaussianValues
from analysis.injection import matched_noise, shuffled
from analysis.interventions import walk
from analysis.support import cross_fades
from paradigms.contract import Path


def test_cross_fades_never_mix_an_image_with_itself():
    images = torch.eye(8).view(8, 1, 2, 4)
    assert cross_fades(images, 500, torch.Generator().manual_seed(0)).amax() == 0.5


def test_gaussian_values_have_the_mean_and_spread_of_the_recorded_ones():
    generator = torch.Generator().manual_seed(0)
    recorded = torch.randn(400, 3, 2, generator=generator) * torch.tensor([1.0, 3.0]) + 5
    drawn = GaussianValues(recorded).draw(4000, generator)
    torch.testing.assert_close(drawn.mean((0, 1)), recorded.mean((0, 1)), atol=0.2, rtol=0)
    torch.testing.assert_close(drawn.std(0).mean(0), recorded.std(0).mean(0), rtol=0.15, atol=0)


@pytest.mark.parametrize("path", list(Path))
def test_walks_start_and_end_bitwise(path):
    o, e = torch.randn(2, 4, 3, 8)
    assert torch.equal(walk(o, e, 0.0, path), o)
    assert torch.equal(walk(o, e, 1.0, path), e)


def test_slerp_keeps_the_length():
    o, e = torch.randn(2, 4, 512)
    assert walk(o, e, 0.5, Path.SLERP).norm(dim=1) == pytest.approx(torch.stack([o, e]).norm(dim=2).mean(0), rel=1e-4)


@pytest.mark.parametrize("shape", [(5, 6, 4, 4), (5, 2, 6, 4, 4), (5, 8), (5, 1, 4, 4)])
def test_a_shuffled_value_keeps_its_numbers_and_no_place(shape):
    e = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    moved = shuffled(torch.zeros(shape), e, Path.LERP)
    assert torch.equal(moved.flatten(1).sort(1).values, e.flatten(1).sort(1).values)
    assert not (moved == e).any()


@pytest.mark.parametrize("shape", [(5, 6, 16, 16), (5, 2, 6, 16, 16), (5, 400)])
def test_matched_noise_has_the_moments_of_each_channel_and_nothing_else(shape):
    e = 3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    noise = matched_noise(torch.zeros(shape), e, Path.LERP)
    dims = (-2, -1) if len(shape) > 2 else (-1,)
    torch.testing.assert_close(noise.mean(dims), e.mean(dims), atol=0.5, rtol=0)
    torch.testing.assert_close(noise.std(dims), e.std(dims), atol=0, rtol=0.25)
    assert abs(np.corrcoef(noise.flatten(), e.flatten())[0, 1]) < 0.2
