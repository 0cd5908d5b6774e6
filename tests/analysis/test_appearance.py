import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from analysis.features.appearance import APPEARANCES, squared_distances_by
from analysis.metrics.effects import sufficiency, total_effect

SIZE = 24


def disc(x, colour, ground=(0.1, 0.1, 0.1), radius=5.0):
    """A disc (3, 24, 24) in [-1, 1]."""
    axis = torch.arange(SIZE, dtype=torch.float32)
    inside = ((axis[None, :] - x) ** 2 + (axis[:, None] - 12) ** 2 < radius**2).float()
    image = inside * torch.tensor(colour)[:, None, None] + (1 - inside) * torch.tensor(ground)[:, None, None]
    return 2 * image - 1


RED, BLUE = (0.9, 0.2, 0.1), (0.1, 0.3, 0.9)
HERE, THERE = 8.0, 16.0
STRIPED = disc(HERE, RED) * torch.tensor([1.0, 0.6]).repeat(SIZE // 2)


@pytest.mark.parametrize("name", APPEARANCES)
def test_o_itself_has_no_effect_and_e_itself_has_all(name):
    o, e = disc(HERE, RED), disc(THERE, BLUE)
    e = e + 0.2 * STRIPED
    distances = squared_distances_by(APPEARANCES[name], torch.stack([o, e, o, e])[None])
    assert distances.shape == (1, 2, 3)
    each = np.moveaxis(distances, 0, 1)
    assert total_effect(each) == pytest.approx([0, 1])
    assert sufficiency(each) == pytest.approx([0, 1])
    assert distances[0, 0, 0] > 0


def carried(name, o, e, c):
    return float(sufficiency(squared_distances_by(APPEARANCES[name], torch.stack([o, e, c])[None])[:, 0]))


def test_structure_comes_with_the_place_and_surface_with_the_colour():
    o, e = disc(HERE, RED), disc(THERE, BLUE)
    moved, painted = disc(THERE, RED), disc(HERE, BLUE)
    for name, appearance in APPEARANCES.items():
        if name != "texture":
            by_place, by_colour = carried(name, o, e, moved), carried(name, o, e, painted)
            assert (by_place > by_colour) == (appearance.role == "structure"), name


def test_texture_is_told_from_a_plain_surface():
    o, e = disc(HERE, RED), disc(THERE, RED) * torch.tensor([1.0, 0.6]).repeat(SIZE // 2)
    assert carried("texture", o, e, STRIPED) > 0.8
    assert carried("texture", o, e, disc(THERE, RED)) < 0.2


def test_ssim_is_that_of_the_library():
    a, b = disc(HERE, RED), disc(THERE, BLUE)
    grey = [(((x + 1) / 2).double().numpy() * np.array([0.2125, 0.7154, 0.0721])[:, None, None]).sum(0) for x in (a, b)]
    expected = 1 - structural_similarity(*grey, data_range=1.0, win_size=7)
    assert squared_distances_by(APPEARANCES["ssim"], torch.stack([a, b, b])[None])[0, 0, 0] == pytest.approx(expected)


@pytest.mark.parametrize("name", APPEARANCES)
def test_grey_and_small_images_are_compared_too(name):
    images = torch.rand(2, 4, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert np.isfinite(squared_distances_by(APPEARANCES[name], images)).all()


def test_the_hue_of_grey_is_no_colour():
    noise = 1e-3 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    grey, other = noise + torch.tensor([1e-3, 0, 0])[:, None, None], noise - torch.tensor([1e-3, 0, 0])[:, None, None]
    images = torch.stack([grey[0], other[1], other[1]])[None]
    assert squared_distances_by(APPEARANCES["colours"], images)[0, 0, 0] == pytest.approx(0, abs=1e-6)
