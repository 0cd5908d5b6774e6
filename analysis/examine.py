"""The four properties of every candidate of one model, as tidy rows."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from torch import Tensor

from analysis import organization
from analysis.calibration import RESAMPLES, SIGNIFICANT, STILL, Estimate, bootstrap, verdict
from analysis.density import GaussianValues, RealImages, cross_fades
from analysis.interventions import (
    Pairs,
    draw_pairs,
    generate_all,
    inject,
    record_all,
    replace_value,
)
from analysis.phi import Readout
from analysis.relevance import squared_distances, sufficiency, total_effect
from analysis.results import COLUMNS, PROPERTIES
from analysis.smoothness import STEPS, path_shape
from datamodules.base import Factor, FactorKind, Role, encode
from paradigms.contract import GenerativeModel, Invertible, LatentCandidate

Array = NDArray[np.float64]
Phi = Callable[[Tensor], Tensor]

SMALLEST = 2 * (organization.NEIGHBOURS + 2)
"""Least number of images: half of them must have more than the neighbours that are compared."""

MEMORY = 1 << 30
"""Bytes of recorded values held at a time."""


@dataclass(frozen=True)
class Factors:
    """Factors of the real images, and how to render others.

    Attributes:
        values: (N, K), one row per image.
        spec: What the columns are.
        render: (M, K) factor values → (M, C, H, W) uint8 images, where the data set can.
    """

    values: Tensor
    spec: Sequence[Factor]
    render: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def of(cls, factors: Any) -> "Factors":
        """From a plain (N, K) table, whose columns are taken as continuous and scaled to [0, 1]."""
        if isinstance(factors, cls):
            return factors
        names = [str(name) for name in getattr(factors, "columns", range(np.shape(factors)[1]))]
        values = torch.as_tensor(np.asarray(factors), dtype=torch.float32)
        low, high = values.amin(0), values.amax(0)
        spec = tuple(Factor(name, FactorKind.CONTINUOUS, 0, Role.CONTENT) for name in names)
        return cls((values - low) / (high - low).clamp_min(1e-12), spec)


@dataclass
class Examination:
    """Rows, and what pictures of them are made from.

    Attributes:
        rows: Tidy rows without the columns that describe the cell.
        pictures: Example images (R, columns, C, H, W) by (candidate, property).
        images: (n, C, H, W), the images whose values were recorded.
        scores: Principal scores (n, k) of each candidate's recorded values.
        readout: Linear readings of the factors, where there are factors.
        factor_values: Factors of ``images`` as read from φ.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    images: Tensor = field(default_factory=lambda: torch.empty(0))
    scores: dict[str, Array] = field(default_factory=dict)
    readout: Readout | None = None
    factor_values: list[Array] = field(default_factory=list)


class Examiner:
    """Measures one model; see :func:`analysis.measure_model`."""

    def __init__(
        self, model: GenerativeModel, images: Tensor, phi: Phi, factors: Factors | None, n: int, seed: int
    ) -> None:
        if images.ndim != 4 or len(images) < 2 * organization.NEIGHBOURS or not torch.isfinite(images).all():
            raise ValueError(f"images must be finite, (N, C, H, W), N >= {2 * organization.NEIGHBOURS}")
        if n < SMALLEST:
            raise ValueError(f"n={n} must be at least {SMALLEST}: intervals come from halves of the images")
        if factors is not None and len(factors.values) != len(images):
            raise ValueError(f"factors must have one row per image: {len(factors.values)} rows, {len(images)} images")
        self.model, self.phi, self.factors, self.n, self.seed = model, phi, factors, n, seed
        self.generator = torch.Generator().manual_seed(seed)
        self.result = Examination()
        self.real = self.features(images)
        self.real_images = images
        self.support = RealImages(self.real.float())
        if factors is not None:
            self.result.readout = Readout(self.array(self.real), factors.values, factors.spec)
        self.cross_fade = self.support.realism(self.features(cross_fades(images, 2 * n, self.generator)))
        self.inputs = model.draw(n, self.generator)
        best = (
            generate_all(model, model.invert(images[:n]), "reconstructions")
            if isinstance(model, Invertible)
            else generate_all(model, self.inputs, "samples")
        )
        self.best = self.support.realism(self.features(best))
        self.able = _greater(self.best, self.cross_fade) < SIGNIFICANT
        self.independent, self.inside = draw_pairs(model, n, self.generator)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """φ of images (N, C, H, W), in pieces that fit in memory."""
        return torch.cat([self.phi(piece).float() for piece in images.split(512)])

    @staticmethod
    def array(features: Tensor) -> Array:
        """As float64 on the CPU."""
        return features.double().cpu().numpy()

    def pairs(self, name: str) -> Pairs | None:
        """The pairs that are valid for a candidate."""
        return self.independent if name in self.inputs else self.inside

    def row(
        self, candidate: LatentCandidate, prop: str, estimator: str, estimate: Estimate | None, **more: Any
    ) -> None:
        """Add a tidy row; without an estimate it is ``n/a`` with its reason."""
        row: dict[str, Any] = {
            "candidate": candidate.name,
            "kind": str(candidate.kind),
            "property": prop,
            "estimator": estimator,
            "target": "all",
            "protocol": "",
            "n": self.n,
            "seed": self.seed,
            "status": "ok" if estimate else "n/a",
            "reason": "",
            "headline": False,
        }
        if estimate is None:
            keys = ("value", "null", "ceiling", "score", "ci_low", "ci_high", "p_value")
            row |= dict.fromkeys(keys, float("nan")) | {"verdict": "n/a"}
        else:
            score, low, high = (estimate.score(x) for x in (estimate.value, estimate.low, estimate.high))
            row |= {"value": estimate.value, "null": estimate.null, "ceiling": estimate.ceiling}
            row |= {"score": score, "ci_low": low, "ci_high": high, "p_value": estimate.p_value}
            row["verdict"] = verdict(score, low, high, estimate.p_value)
        self.result.rows.append(row | more)

    def relevance(self, candidate: LatentCandidate) -> float:
        """S_T and S_1, in total and per role; returns S_T."""
        pairs = self.pairs(candidate.name)
        if pairs is None:
            reason = "layers of an unconditional diffusion model cannot be injected: other noise breaks the picture"
            self.row(candidate, "relevance", "S_T", None, headline=True, reason=reason)
            return float("nan")
        images = inject(self.model, pairs, [(candidate.name, 1.0)], f"{candidate.name}: relevance")
        features = self.features(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        o, e, c = (self.array(features[:, i]) for i in range(3))
        self.result.pictures[candidate.name, "relevance"] = images[:8]
        broken = _greater(self.cross_fade, self.support.realism(features[:, 2])) < SIGNIFICANT and self.able
        status = {"status": "breaks", "reason": "less real than cross-fades"} if broken else {}
        total = self._effects(candidate, o, e, c, "all", pairs.protocol, status)
        if self.result.readout and self.factors:
            for role in {factor.role: None for factor in self.factors.spec}:
                of_o, of_e, of_c = (self.result.readout.embed(x, role) for x in (o, e, c))
                self._effects(candidate, of_o, of_e, of_c, str(role), pairs.protocol, {})
        return total

    def _effects(
        self, candidate: LatentCandidate, o: Array, e: Array, c: Array, target: str, protocol: str, status: Any
    ) -> float:
        distances = squared_distances(o, e, c)
        if distances[:, 0].mean() < 1e-12:
            self.row(candidate, "relevance", "S_T", None, target=target, protocol=protocol, reason="O and E are equal")
            return 0.0
        for estimator, statistic in (("S_T", total_effect), ("S_1", sufficiency)):
            low, high = bootstrap(statistic, distances, self.seed)
            estimate = Estimate(float(statistic(distances)), 0.0, 1.0, low, high)
            headline = target == "all" and estimator == "S_T"
            shown = {"target": target, "protocol": protocol, "headline": headline} | (status if headline else {})
            self.row(candidate, "relevance", estimator, estimate, **shown)
        return float(total_effect(distances))

    def density(self, candidate: LatentCandidate, values: Tensor, total: float) -> None:
        """Realism of images whose value is a fresh draw of the candidate's distribution."""
        name = candidate.name
        if name in self.inputs:
            fresh = self.model.draw(self.n, self.generator)[name]
        else:
            fresh = GaussianValues(values).draw(self.n, self.generator)
        images = replace_value(self.model, self.inputs, name, fresh, f"{name}: density")
        self.result.pictures[name, "density"] = images[:24].unflatten(0, (-1, 8))
        if not self.able:
            self.row(candidate, "density", "realism_median", None, headline=True, reason=POOR)
            return
        features = self.features(images)
        realism = self.support.realism(features)
        status = (
            {"status": "vacuous", "reason": f"it does not move the image: S_T {total:.2f}"} if total < STILL else {}
        )
        for estimator, q in (("realism_median", 0.5), ("realism_q05", 0.05)):
            low, high = bootstrap(lambda x, q=q: np.quantile(x, q, axis=-1), realism, self.seed)  # type: ignore[misc]
            estimate = Estimate(
                float(np.quantile(realism, q)),
                float(np.quantile(self.cross_fade, q)),
                float(np.quantile(self.best, q)),
                low,
                high,
                _greater(realism, self.cross_fade),
            )
            headline = estimator == "realism_median"
            if estimate.ceiling > estimate.null:
                self.row(candidate, "density", estimator, estimate, headline=headline, **status)

    def smoothness(self, candidate: LatentCandidate, total: float) -> None:
        """Continuity of walks from O's value to E's, times the realism along them."""
        pairs, name, reason = self.pairs(candidate.name), candidate.name, ""
        if pairs is None:
            reason = "no valid walk inside an unconditional diffusion model"
        elif total < STILL:
            reason = f"vacuous: it does not move the image (S_T {total:.2f}), so there is no path"
        elif not self.able:
            reason = POOR
        if reason or pairs is None:
            status = "vacuous" if total < STILL else "n/a"
            self.row(candidate, "smoothness", "continuity", None, headline=True, reason=reason, status=status)
            return
        paths = max(4, self.n // 8)
        plan = [(name, step / STEPS) for step in range(1, STEPS + 1)]
        images = inject(self.model, pairs.first(paths), plan, f"{name}: smoothness")
        images = torch.cat([images[:, :1], images[:, 2:]], dim=1)
        self.result.pictures[name, "smoothness"] = images[:4]
        flat = self.features(images.flatten(0, 1))
        shape = path_shape(self.array(flat).reshape(paths, STEPS + 1, -1))
        realism = np.median(self.support.realism(flat).reshape(paths, STEPS + 1), axis=1)
        null, best = float(np.median(self.cross_fade)), float(np.median(self.best))

        def value(samples: Array) -> Array:
            real = np.clip((np.median(samples[..., 1], axis=-1) - null) / (best - null), 0, 1)
            return np.asarray(samples[..., 0].mean(axis=-1) * real)

        samples = np.stack([shape["continuity"], realism], axis=1)
        low, high = bootstrap(value, samples, self.seed)
        estimate = Estimate(float(value(samples)), 0.0, self.smoothest, low, high)
        more = {"protocol": pairs.protocol, "n": paths}
        self.row(candidate, "smoothness", "continuity_times_realism", estimate, headline=True, **more)

    @property
    def smoothest(self) -> float:
        """Ceiling of smoothness: true factor paths where they can be rendered, else cross-fades of real images."""
        if not hasattr(self, "_smoothest"):
            generator = torch.Generator().manual_seed(self.seed)
            a, b = (torch.randint(len(self.real_images), (128,), generator=generator) for _ in range(2))
            alphas = torch.linspace(0, 1, STEPS + 1)
            if self.factors is not None and self.factors.render is not None:
                walks = torch.stack([self._factor_walk(a, b, float(alpha)) for alpha in alphas], dim=1)
                images = self.factors.render(walks.flatten(0, 1)).float() / 127.5 - 1
            else:
                steps = alphas.view(1, -1, 1, 1, 1)
                images = torch.lerp(self.real_images[a, None], self.real_images[b, None], steps).flatten(0, 1)
            features = self.array(self.features(images)).reshape(128, STEPS + 1, -1)
            self._smoothest = float(path_shape(features)["continuity"].mean())
        return self._smoothest

    def _factor_walk(self, a: Tensor, b: Tensor, alpha: float) -> Tensor:
        """Factor values on the way between images: classes stay, circles are walked the short way."""
        assert self.factors is not None
        start, end = self.factors.values[a], self.factors.values[b]
        columns = []
        for k, factor in enumerate(self.factors.spec):
            way = end[:, k] - start[:, k]
            match factor.kind:
                case FactorKind.CATEGORICAL:
                    columns.append(start[:, k])
                case FactorKind.CONTINUOUS:
                    columns.append(start[:, k] + alpha * way)
                case FactorKind.CIRCULAR:
                    columns.append((start[:, k] + alpha * ((way + 0.5) % 1 - 0.5)) % 1)
        return torch.stack(columns, dim=1)

    def organization(self, candidate: LatentCandidate, values: Tensor, gram_phi: Array) -> None:
        """Whether similarity of values mirrors similarity of images; and linear probes of the factors."""
        flat = values.float().flatten(1)
        flat = flat - flat.mean(0)
        gram = self.array(flat @ flat.T)
        name = candidate.name
        if np.trace(gram) < 1e-9:
            self.row(candidate, "organization", "rsa", None, headline=True, reason="its value never changes")
            return
        for estimator, similarity in organization.similarities(gram, gram_phi).items():
            estimate = organization.calibrated(similarity, self.ceilings[estimator], self.seed)
            self.row(candidate, "organization", estimator, estimate, headline=estimator == "rsa")
        distances = np.add.outer(np.diag(gram), np.diag(gram)) - 2 * gram
        nearest = np.argsort(distances[:4], axis=1)[:, :8]
        self.result.pictures[name, "organization"] = self.result.images[torch.as_tensor(nearest)]
        self.result.scores[name] = scores = organization.principal_scores(gram, min(64, self.n // 4))
        if self.factors is not None:
            for factor, target in zip(self.factors.spec, self.result.factor_values, strict=True):
                self._probe(candidate, factor, scores, target)

    def _probe(self, candidate: LatentCandidate, factor: Factor, scores: Array, target: Array) -> None:
        """Linear probe of one factor on the principal scores, against shuffled labels."""
        classes = factor.kind is FactorKind.CATEGORICAL
        target = target[:, 0] if classes else target
        if classes and len(np.unique(target)) < 2:
            reason = "all generated images are of one class"
            self.row(candidate, "organization", "probe", None, target=factor.name, reason=reason)
            return

        def quality(truth: Array, found: Array) -> Array:
            """Accuracy or R² over the second to last axis."""
            if classes:
                return np.asarray((truth == found).mean(axis=-1))
            spread = truth - truth.mean(axis=-2, keepdims=True)
            return np.asarray(1 - ((truth - found) ** 2).sum((-1, -2)) / (spread**2).sum((-1, -2)))

        found = organization.linear_probe(scores, target, classes=classes, seed=self.seed).reshape(target.shape)
        rng = np.random.default_rng(self.seed)
        shuffled = rng.permutation(target)
        null = quality(shuffled, organization.linear_probe(scores, shuffled, classes=classes).reshape(target.shape))
        both = np.stack([target, found], axis=1)

        def statistic(samples: Array) -> Array:
            return quality(samples[:, :, 0], samples[:, :, 1])

        low, high = bootstrap(statistic, both, self.seed)
        estimate = Estimate(float(quality(target, found)), float(null), 1.0, low, high)
        self.row(candidate, "organization", "probe", estimate, target=factor.name)

    @property
    def ceilings(self) -> Mapping[str, float]:
        """What the true factors reach on the real images, 1 where there are none."""
        if not hasattr(self, "_ceilings"):
            real = organization.centred_gram(self.array(self.real[: self.n]))
            if self.factors is None:
                self._ceilings = dict.fromkeys(organization.similarities(real, real), 1.0)
            else:
                truth = encode(self.factors.values[: self.n], self.factors.spec).double().numpy()
                own = organization.similarities(organization.centred_gram(truth), real)
                order = np.arange(len(real))
                self._ceilings = {name: max(similarity(order, order), 1e-3) for name, similarity in own.items()}
        return self._ceilings

    def run(self, names: Sequence[str], properties: Collection[str]) -> Examination:
        """Measure the candidates ``names``."""
        recorded = self.model.draw(self.n, self.generator)
        for group in self._groups(names):
            self.result.images, values = record_all(self.model, recorded, group, f"record {group[0]}…{group[-1]}")
            features = self.array(self.features(self.result.images))
            gram_phi = organization.centred_gram(features)
            if self.result.readout:
                self.result.factor_values = self.result.readout.read(features)
            for name in group:
                candidate = self.model.candidates[name]
                total = self.relevance(candidate)
                if "density" in properties:
                    self.density(candidate, values[name], total)
                if "smoothness" in properties:
                    self.smoothness(candidate, total)
                if "organization" in properties:
                    self.organization(candidate, values[name], gram_phi)
        return self.result

    def _groups(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Candidates whose recorded values fit in memory together."""
        group: list[str] = []
        used = 0
        for name in names:
            size = 4 * self.n * int(np.prod(self.model.candidates[name].shape))
            if group and used + size > MEMORY:
                yield group
                group, used = [], 0
            group.append(name)
            used += size
        yield group


POOR = "the model's best images are no more real than cross-fades of real ones: too poor to judge"


def _greater(a: Array, b: Array) -> float:
    """p-value of ``a`` being larger than ``b`` (Mann & Whitney 1947)."""
    return float(mannwhitneyu(a, b, alternative="greater").pvalue)


def examine(
    model: GenerativeModel,
    images: Tensor,
    phi: Phi,
    *,
    factors: Any = None,
    n: int = 512,
    seed: int = 0,
    candidates: Collection[str] | None = None,
    properties: Collection[str] | None = None,
) -> Examination:
    """As :func:`measure_model`, with the pictures and values behind the rows."""
    names = list(model.candidates if candidates is None else candidates)
    for name in names:
        if name not in model.candidates:
            raise ValueError(f"candidates: {name!r} is none of {', '.join(model.candidates)}")
    wanted = PROPERTIES if properties is None else tuple(properties)
    for name in wanted:
        if name not in PROPERTIES:
            raise ValueError(f"properties: {name!r} is none of {', '.join(PROPERTIES)}")
    examiner = Examiner(model, images, phi, None if factors is None else Factors.of(factors), n, seed)
    result = examiner.run(names, wanted)
    result.rows = [row for row in result.rows if row["property"] in wanted]
    return result


def measure_model(
    model: GenerativeModel,
    images: Tensor,
    phi: Phi,
    *,
    factors: Any = None,
    n: int = 512,
    seed: int = 0,
    candidates: Collection[str] | None = None,
    properties: Collection[str] | None = None,
) -> pd.DataFrame:
    """Measure density, smoothness, organization and relevance of a model's latent candidates.

    Args:
        model: Any object that meets :class:`paradigms.contract.GenerativeModel`.
        images: Real images (N, C, H, W) in [-1, 1], not used in training.
        phi: Bounded perceptual features: images (N, C, H, W) in [-1, 1] → (N, D).
        factors: Factors of ``images``: a :class:`Factors`, or a plain table (N, K) of continuous ones.
        n: Images, pairs and draws behind each number; walks are an eighth of it.
        seed: Of all draws and resampling.
        candidates: Names to measure; all by default.
        properties: Properties to measure; all four by default.

    Returns:
        Tidy rows, see :data:`analysis.results.COLUMNS`.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """
    result = examine(model, images, phi, factors=factors, n=n, seed=seed, candidates=candidates, properties=properties)
    rows = pd.DataFrame(result.rows)
    name = type(model).__name__.lower()
    rows = rows.assign(cell=name, paradigm=name, data="", bottleneck=0)
    return rows[list(COLUMNS)].astype(dict(COLUMNS))


__all__ = ["RESAMPLES", "Examination", "Factors", "examine", "measure_model"]
