"""The measures of smoothness beside reference implementations."""

from importlib.metadata import version

import numpy as np
import torch
from oracle import Comparison
from torch import Tensor, nn

from analysis.metrics.paths import normalised_ppl

EPSILON = 1e-2

NOTE = "it does not divide by the distance of images, so ours is multiplied by it; its discarding of tails is off"


class Generator(nn.Module):
    """A smooth, curved generator z (N, 6) → images (N, 3, 8, 8) in [0, 255], in double precision."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.randn(6, 192, generator=generator, dtype=torch.float64)
        self.latents = torch.randn(2, 200, 6, generator=generator, dtype=torch.float64)
        self.drawn = iter(self.latents)

    def forward(self, z: Tensor) -> Tensor:
        return 255 * torch.sigmoid(z.double() @ self.weights).view(-1, 3, 8, 8)

    def sample(self, n: int) -> Tensor:
        return next(self.drawn)[:n]


class Squared(nn.Module):
    """Squared Euclidean distance of images, which takes the place of LPIPS."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).flatten(1).square().sum(1)


def against_torchmetrics() -> list[Comparison]:
    """Perceptual path length on the same latents, with Euclidean distances of images in [-1, 1]."""
    from torchmetrics.functional.image import perceptual_path_length

    model = Generator()
    theirs, _, _ = perceptual_path_length(
        model,
        num_samples=200,
        epsilon=EPSILON,
        resize=None,
        lower_discard=None,
        upper_discard=None,
        sim_net=Squared(),
    )
    z = model.latents
    o, e, moved = (_features(model, latent) for latent in (z[0], z[1], torch.lerp(z[0], z[1], EPSILON)))
    ours = normalised_ppl(o, moved, EPSILON, o, e) * float(((o - e) ** 2).sum(1).mean())
    case, reference = f"200 paths, ε = {EPSILON}, linear", f"torchmetrics {version('torchmetrics')}"
    return [Comparison("smoothness.normalised_ppl", reference, case, ours, float(theirs), 1e-6 * ours, NOTE)]


def against_torch_fidelity() -> list[Comparison]:
    """The same on latents that torch-fidelity draws, straight and round."""
    from torch_fidelity import GenerativeModelModuleWrapper, SampleSimilarityBase, calculate_metrics
    from torch_fidelity.registry import INTERPOLATION_REGISTRY, SAMPLE_SIMILARITY_REGISTRY, register_sample_similarity

    class Euclidean(SampleSimilarityBase):
        def __init__(self, name: str, **_: object) -> None:
            super().__init__(name)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return Squared()(2 * a / 255 - 1, 2 * b / 255 - 1)

    if "squared-euclidean" not in SAMPLE_SIMILARITY_REGISTRY:
        register_sample_similarity("squared-euclidean", Euclidean)
    found = []
    for path in ("lerp", "slerp_any"):
        theirs = calculate_metrics(
            input1=GenerativeModelModuleWrapper(Generator(), 6, "normal", 0),
            input1_model_num_samples=200,
            ppl=True,
            ppl_epsilon=EPSILON,
            ppl_z_interp_mode=path,
            ppl_sample_similarity="squared-euclidean",
            ppl_discard_percentile_lower=None,
            ppl_discard_percentile_higher=None,
            rng_seed=0,
            cuda=False,
            verbose=False,
        )["perceptual_path_length_mean"]
        rng = np.random.RandomState(0)
        z = [torch.from_numpy(rng.standard_normal((200, 6)).astype(np.float32)) for _ in range(2)]
        moved = INTERPOLATION_REGISTRY[path](*z, EPSILON)
        o, e, step = (_features(Generator(), latent.double()) for latent in (*z, moved))
        ours = normalised_ppl(o, step, EPSILON, o, e) * float(((o - e) ** 2).sum(1).mean())
        case, reference = f"200 paths, ε = {EPSILON}, {path}", f"torch-fidelity {version('torch-fidelity')}"
        found.append(Comparison("smoothness.normalised_ppl", reference, case, ours, theirs, 1e-6 * ours, NOTE))
    return found


def _features(model: Generator, z: Tensor) -> np.ndarray:
    return (2 * model(z) / 255 - 1).flatten(1).numpy()
