"""A world of one bright blob, placed by two numbers in [0, 1] and tinted by a third."""

import torch

SIZE = 16


def render(place, tint=None):
    """Images (N, 1, 16, 16) in [-1, 1] of a Gaussian blob centred at ``place`` (N, 2).

    With ``tint`` (N, 1) in [0, 1] they are (N, 3, 16, 16), the blob going from red over grey to blue.
    """
    centre = 3 + place * (SIZE - 7)
    pixels = torch.arange(SIZE, dtype=torch.float32)
    x, y = (torch.exp(-((pixels - centre[:, i, None]) ** 2) / 2) for i in range(2))
    light = y[:, None, :, None] * x[:, None, None, :]
    if tint is not None:
        light = light * torch.stack([1 - tint, torch.full_like(tint, 0.5), tint], dim=1)[..., None]
    return 2 * light - 1


def phi(images):
    """Mass, centre, spread and colour of the light: bounded, and unlike a blob's where two blobs are mixed."""
    light = (images.mean(1) + 1) / 2 + 1e-6
    mass = light.sum((1, 2), keepdim=True)
    pixels = torch.arange(SIZE, dtype=torch.float32) / SIZE
    features = [mass.flatten() / SIZE**2]
    for axis in (1, 2):
        share = (light / mass).sum(3 - axis)
        mean = (share * pixels).sum(1, keepdim=True)
        # Not its root, which would leap where a second blob begins to show.
        features += [mean[:, 0], 9 * (share * (pixels - mean) ** 2).sum(1)]
    channels = ((images + 1) / 2 + 1e-6).sum((2, 3))
    features.append(0.5 * channels[:, -1] / channels.sum(1))
    return torch.stack(features, dim=1)


PLACES = torch.rand(1200, 2, generator=torch.Generator().manual_seed(7))
TINTS = torch.rand(1200, 1, generator=torch.Generator().manual_seed(8))
