"""A Gaussian through recorded values: the distribution of a latent candidate that has no prior."""

import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor


class GaussianValues:
    """A Gaussian with shrunk covariance through recorded values, jointly over all timesteps.

    The principal axes of n values lie in their span, so a draw is their mean plus a mixture of the centred values,
    and the weights of that mixture are all that is kept: no covariance of the (T·C·H·W)-dimensional values is formed.
    The variances along the axes are shrunk towards their mean (Ledoit & Wolf 2004).

    Args:
        values: Recorded values (n, …).
    """

    def __init__(self, values: Tensor) -> None:
        n = len(values)
        self.values, self.mean = values, values.float().mean(0)
        flat = (values.float() - self.mean).reshape(n, -1)
        gram = (flat @ flat.T).double()
        variances, axes = torch.linalg.eigh(gram / n)
        kept = variances > variances[-1] * 1e-6
        if not kept.any():
            self.weights = torch.zeros(n, 1, device=gram.device)
            return
        variances, axes = variances[kept], axes[:, kept]
        scores = axes * (variances * n).sqrt()
        shrunk = (1 - (rho := _shrinkage(scores))) * variances + rho * variances.mean()
        self.weights = (axes * (shrunk / variances / n).sqrt()).float()

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Fresh values (n, …), of the type of the recorded ones."""
        normal = torch.randn(n, self.weights.shape[1], generator=generator).to(self.weights.device)
        mixture = normal @ self.weights.T
        flat = (self.values.float() - self.mean).reshape(len(self.values), -1)
        drawn: Tensor = mixture @ flat
        return (drawn.view(n, *self.mean.shape) + self.mean).to(self.values)


def _shrinkage(scores: Tensor) -> float:
    """Ledoit & Wolf's optimal weight of the scaled identity, for centred ``scores`` (n, p)."""
    return float(ledoit_wolf_shrinkage(scores.cpu().numpy(), assume_centered=True))
