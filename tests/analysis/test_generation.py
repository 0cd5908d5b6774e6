import numpy as np
import pytest
import torch
from generators import Planted

from analysis.experiment import generation
from analysis.experiment.generation import walk
from analysis.experiment.injection import matched_noise, shuffled
from analysis.experiment.subject import cross_fades
from analysis.metrics.gaussian import GaussianValues
from paradigms.contract import Kind, LatentCandidate, Path


def test_cross_fades_never_mix_an_image_with_itself():
    images = torch.eye(8).view(8, 1, 2, 4)
    fades = cross_fades(images, 500, torch.Generator().manual_seed(0))
    assert fades.amax() == 0.5
    # No two of them are of the same pair, of which there are 28.
    assert len(fades) == len(fades.unique(dim=0)) == 28
    assert len(cross_fades(images, 5, torch.Generator().manual_seed(0))) == 5


def test_gaussian_values_have_the_mean_and_spread_of_the_recorded_ones():
    generator = torch.Generator().manual_seed(0)
    recorded = torch.randn(400, 3, 2, generator=generator) * torch.tensor([1.0, 3.0]) + 5
    drawn = GaussianValues(recorded).draw(4000, generator)
    torch.testing.assert_close(drawn.mean((0, 1)), recorded.mean((0, 1)), atol=0.2, rtol=0)
    torch.testing.assert_close(drawn.std(0).mean(0), recorded.std(0).mean(0), rtol=0.15, atol=0)


def test_places_are_recorded_together_as_far_as_memory_goes(monkeypatch):
    # Two values of four bytes for each of ten images.
    model = Planted()
    for memory, expected in ((160, [["z", "u"]]), (159, [["z"], ["u"]]), (1, [["z"], ["u"]])):
        monkeypatch.setattr(generation, "MEMORY", memory)
        assert list(generation.groups(model, ["z", "u"], 10)) == expected


@pytest.mark.parametrize("path", list(Path))
def test_walks_start_and_end_bitwise(path):
    o, e = torch.randn(2, 4, 3, 8)
    assert torch.equal(walk(o, e, 0.0, path), o)
    assert torch.equal(walk(o, e, 1.0, path), e)


@pytest.mark.parametrize("path", list(Path))
def test_nothing_lies_between_classes(path):
    o, e = torch.zeros(4, 3, dtype=torch.int64), torch.ones(4, 3, dtype=torch.int64)
    assert torch.equal(walk(o, e, 1.0, path), e)
    with pytest.raises(ValueError, match="strength must be 1 where values are classes"):
        walk(o, e, 0.5, path)


def test_slerp_keeps_the_length():
    o, e = torch.randn(2, 4, 512)
    assert walk(o, e, 0.5, Path.SLERP).norm(dim=1) == pytest.approx(torch.stack([o, e]).norm(dim=2).mean(0), rel=1e-4)


def candidate(shape, tokens):
    return LatentCandidate("h", Kind.ACTIVATION, shape, Path.LERP, tokens)


@pytest.mark.parametrize(
    ("shape", "tokens"),
    [((6, 4, 4), False), ((2, 6, 4, 4), False), ((8,), False), ((1, 4, 4), False), ((4, 8), True), ((2, 4, 8), True)],
)
def test_a_shuffled_value_keeps_its_numbers_and_no_place(shape, tokens):
    e = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    moved = shuffled(torch.zeros(5, *shape), e, candidate((3, *shape), tokens))
    assert torch.equal(moved.flatten(1).sort(1).values, e.flatten(1).sort(1).values)
    assert not (moved == e).any()
    if tokens or len(shape) == 4:
        # Neither the halves of guidance nor tokens change places.
        axis = -1 if tokens else -3
        assert torch.equal(moved.sort(axis).values, e.sort(axis).values)


@pytest.mark.parametrize(
    ("shape", "tokens"),
    [((6, 16, 16), False), ((2, 6, 16, 16), False), ((400,), False), ((256, 3), True), ((2, 256, 3), True)],
)
def test_matched_noise_has_the_moments_of_each_channel_and_nothing_else(shape, tokens):
    e = 3 + 2 * torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))
    own = candidate((3, *shape) if len(shape) > 1 else shape, tokens)
    noise = matched_noise(torch.zeros(5, *shape), e, own)
    dims = own.places or (-1,)
    torch.testing.assert_close(noise.mean(dims), e.mean(dims), atol=0.6, rtol=0)
    torch.testing.assert_close(noise.std(dims), e.std(dims), atol=0, rtol=0.25)
    assert abs(np.corrcoef(noise.flatten(), e.flatten())[0, 1]) < 0.2


@pytest.mark.parametrize("shape", [(64,), (64, 1, 1)])
def test_noise_like_a_value_of_one_place_has_the_moments_of_the_whole(shape):
    e = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0)) * 3 + 1
    noise = matched_noise(torch.zeros_like(e), e, candidate(shape, tokens=False))
    assert (noise != e).all()
    torch.testing.assert_close(noise.flatten(1).mean(1), e.flatten(1).mean(1), atol=1.5, rtol=0)
    torch.testing.assert_close(noise.flatten(1).std(1), e.flatten(1).std(1), atol=1, rtol=0)


@pytest.mark.parametrize("copies", [2, 4, 8])
def test_a_value_that_repeats_itself_is_shuffled_too(copies):
    e = torch.tensor([[1.0, 2.0]]).repeat(1, copies)
    assert (shuffled(e, e, candidate((2 * copies,), tokens=False)) != e).all()


@pytest.mark.parametrize(
    ("shape", "channel"), [((7, 4), -1), ((7, 2, 4), -1), ((7, 3, 4, 4), -3), ((7, 2, 3, 4, 4), -3)]
)
def test_a_value_per_timestep_has_its_channels_where_a_single_one_has_them(shape, channel):
    assert candidate(shape, tokens=False).at_step.channel == channel
