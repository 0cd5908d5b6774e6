"""The four properties of every candidate of one model, as tidy rows."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from torch import Tensor

from analysis import organization
from analysis.calibration import SIGNIFICANT, STILL, Estimate, bootstrap, verdict
from analysis.density import GaussianValues
from analysis.interventions import inject, record_all, replace_value
from analysis.relevance import squared_distances, sufficiency, total_effect
from analysis.results import COLUMNS, PROPERTIES
from analysis.smoothness import STEPS, path_shape
from analysis.subject import Factors, Phi, Subject, array, median, tail
from datamodules.base import Factor, FactorKind
from paradigms.contract import GenerativeModel, LatentCandidate

Array = NDArray[np.float64]

MEMORY = 1 << 30
"""Bytes of recorded values held at a time."""

CHANCE = "at its best the measure gives no more than by chance"
POOR = "the model's best images are no more real than cross-fades of real ones: too poor to judge"
HOLES = "its worst images, one in twenty, are no more real than the worst cross-fades of real ones"
UNPAIRED = "layers of an unconditional diffusion model cannot be injected: other noise breaks the picture"


@dataclass
class Examination:
    """Rows, and what pictures of them are made from.

    Attributes:
        rows: Tidy rows without the columns that describe the cell.
        pictures: Example images (R, columns, C, H, W) by (candidate, property).
        images: (n, C, H, W), the images whose values were recorded.
        scores: Principal scores (n, k) of each candidate's recorded values.
        factor_values: Factors of ``images`` as read from φ.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    images: Tensor = field(default_factory=lambda: torch.empty(0))
    scores: dict[str, Array] = field(default_factory=dict)
    factor_values: list[Array] = field(default_factory=list)


class Examiner:
    """Measures the candidates of one subject and collects the rows."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.n, self.seed = subject.n, subject.seed
        self.result = Examination()

    def row(
        self, candidate: LatentCandidate, prop: str, estimator: str, estimate: Estimate | None, **more: Any
    ) -> None:
        """Add a tidy row; without an estimate it is ``n/a`` with its reason."""
        if estimate and not estimate.ceiling > estimate.null:
            estimate, more = None, more | {"status": "n/a", "reason": CHANCE}
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

    def inject_all(self, names: Sequence[str]) -> dict[str, Tensor]:
        """O, E and C (n, 3, C, H, W) of each candidate that has valid pairs; O and E are generated once for all."""
        found: dict[str, Tensor] = {}
        for pairs in {id(p): p for p in map(self.subject.pairs, names) if p}.values():
            own = [name for name in names if self.subject.pairs(name) is pairs]
            images = inject(self.subject.model, pairs, [(name, 1.0) for name in own], "relevance")
            found |= {name: images[:, [0, 1, 2 + i]] for i, name in enumerate(own)}
        return found

    def relevance(self, candidate: LatentCandidate, images: Tensor | None) -> float:
        """S_T and S_1 from O, E and C (n, 3, C, H, W), in total and per role; returns S_T."""
        pairs = self.subject.pairs(candidate.name)
        if images is None or pairs is None:
            self.row(candidate, "relevance", "S_T", None, headline=True, reason=UNPAIRED)
            return float("nan")
        features = self.subject.features(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        o, e, c = (array(features[:, i]) for i in range(3))
        self.result.pictures[candidate.name, "relevance"] = images[:8]
        of_o, of_e, of_c = (self.subject.support.realism(features[:, i]) for i in range(3))
        better = (self.subject.cross_fade, of_o, of_e)
        broken = self.subject.able and all(_greater(x, of_c) < SIGNIFICANT for x in better)
        status = {"status": "breaks", "reason": "less real than O, than E and than cross-fades"} if broken else {}
        total = self._effects(candidate, o, e, c, "all", pairs.protocol, status)
        if self.subject.readout and self.subject.factors:
            for role in {factor.role: None for factor in self.subject.factors.spec}:
                of_o, of_e, of_c = (self.subject.readout.embed(x, role) for x in (o, e, c))
                self._effects(candidate, of_o, of_e, of_c, str(role), pairs.protocol, {})
        return total

    def _effects(
        self, candidate: LatentCandidate, o: Array, e: Array, c: Array, target: str, protocol: str, status: Any
    ) -> float:
        distances = squared_distances(o, e, c)
        if distances[:, 0].mean() < 1e-12:
            more = {"target": target, "protocol": protocol, "headline": target == "all"}
            self.row(candidate, "relevance", "S_T", None, reason="O and E are equal", **more)
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
        subject, name = self.subject, candidate.name
        if name in subject.inputs:
            fresh = subject.model.draw(self.n, subject.generator_of(name))[name]
        else:
            fresh = GaussianValues(values).draw(self.n, subject.generator_of(name))
        images = replace_value(subject.model, subject.inputs, name, fresh, f"{name}: density")
        self.result.pictures[name, "density"] = images[:24].unflatten(0, (-1, 8))
        if not subject.able:
            self.row(candidate, "density", "realism_median", None, headline=True, reason=POOR)
            return
        features = subject.features(images)
        realism = subject.support.realism(features)
        reason = f"it does not move the image: S_T {total:.2f}"
        status = {"status": "vacuous", "reason": reason} if total < STILL else {}
        low, high = bootstrap(median, realism, self.seed)
        value, null, ceiling = (float(np.median(x)) for x in (realism, subject.cross_fade, subject.best))
        estimate = Estimate(value, null, ceiling, low, high, _greater(realism, subject.cross_fade))
        self.row(candidate, "density", "realism_median", estimate, headline=True, **status)
        headline = self.result.rows[-1]
        low, high = bootstrap(tail, realism, self.seed)
        value, null, ceiling = (float(tail(x)) for x in (realism, subject.cross_fade, subject.real))
        self.row(candidate, "density", "realism_5%", Estimate(value, null, ceiling, low, high), **status)
        if self.result.rows[-1]["verdict"] == "X" and headline["verdict"] == "V" and not status:
            headline |= {"verdict": "~", "status": "holes", "reason": HOLES}

    def smoothness(self, candidate: LatentCandidate, total: float) -> None:
        """Continuity of walks from O's value to E's, times the realism along them."""
        subject, name = self.subject, candidate.name
        pairs = subject.pairs(name)
        if pairs is None or total < STILL or not subject.able:
            reason, status = POOR, "n/a"
            if pairs is None:
                reason = UNPAIRED
            elif total < STILL:
                reason, status = "vacuous: it does not move the image, so there is no path", "vacuous"
            self.row(candidate, "smoothness", "continuity", None, headline=True, reason=reason, status=status)
            return
        paths = max(4, self.n // 8)
        plan = [(name, step / STEPS) for step in range(1, STEPS + 1)]
        images = inject(subject.model, pairs.first(paths), plan, f"{name}: smoothness")
        images = torch.cat([images[:, :1], images[:, 2:]], dim=1)
        self.result.pictures[name, "smoothness"] = images[:4]
        flat = subject.features(images.flatten(0, 1))
        shape = path_shape(array(flat).reshape(paths, STEPS + 1, -1))
        realism = median(subject.support.realism(flat).reshape(paths, STEPS + 1))
        null, best = float(np.median(subject.cross_fade)), float(np.median(subject.best))

        def value(samples: Array) -> Array:
            real = np.clip((median(samples[..., 1]) - null) / (best - null), 0, 1)
            return np.asarray(samples[..., 0].mean(axis=-1) * real)

        samples = np.stack([shape["continuity"], realism], axis=1)
        low, high = bootstrap(value, samples, self.seed)
        estimate = Estimate(float(value(samples)), 0.0, subject.smoothest, low, high)
        more = {"protocol": pairs.protocol, "n": paths}
        self.row(candidate, "smoothness", "continuity_times_realism", estimate, headline=True, **more)

    def organization(self, candidate: LatentCandidate, values: Tensor, gram_phi: Array) -> None:
        """Whether similarity of values mirrors similarity of images; and linear probes of the factors."""
        flat = values.float().flatten(1)
        flat = flat - flat.mean(0)
        gram, name = array(flat @ flat.T), candidate.name
        if np.trace(gram) < 1e-9:
            self.row(candidate, "organization", "rsa", None, headline=True, reason="its value never changes")
            return
        for estimator, similarity in organization.similarities(gram, gram_phi).items():
            estimate = organization.calibrated(similarity, self.subject.organized[estimator], self.seed)
            self.row(candidate, "organization", estimator, estimate, headline=estimator == "rsa")
        distances = np.add.outer(np.diag(gram), np.diag(gram)) - 2 * gram
        nearest = np.argsort(distances[:4], axis=1)[:, :8]
        self.result.pictures[name, "organization"] = self.result.images[torch.as_tensor(nearest)]
        self.result.scores[name] = scores = organization.principal_scores(gram, min(64, self.n // 4))
        if self.subject.factors is not None:
            for factor, target in zip(self.subject.factors.spec, self.result.factor_values, strict=True):
                self._probe(candidate, factor, scores, target)

    def _probe(self, candidate: LatentCandidate, factor: Factor, scores: Array, target: Array) -> None:
        """Linear probe of one factor on the principal scores, against shuffled labels."""
        classes = factor.kind is FactorKind.CATEGORICAL
        target = target[:, 0] if classes else target
        if classes and len(np.unique(target)) < 2:
            reason = "all generated images are of one class"
            self.row(candidate, "organization", "probe", None, target=factor.name, reason=reason)
            return
        estimate = organization.probe(scores, target, classes=classes, seed=self.seed)
        self.row(candidate, "organization", "probe", estimate, target=factor.name)

    def run(self, names: Sequence[str], properties: Collection[str]) -> Examination:
        """Measure the candidates ``names``; what moves the image at all is measured for every property."""
        subject = self.subject
        recorded = subject.model.draw(self.n, subject.generator)
        injected = self.inject_all(names)
        for group in self._groups(names):
            what = f"record {group[0]}…{group[-1]}"
            self.result.images, values = record_all(subject.model, recorded, group, what)
            features = array(subject.features(self.result.images))
            gram_phi = organization.centred_gram(features)
            if subject.readout:
                self.result.factor_values = subject.readout.read(features)
            for name in group:
                candidate = subject.model.candidates[name]
                total = self.relevance(candidate, injected.get(name))
                if "density" in properties:
                    self.density(candidate, values[name], total)
                if "smoothness" in properties:
                    self.smoothness(candidate, total)
                if "organization" in properties:
                    self.organization(candidate, values[name], gram_phi)
        self.result.rows = [row for row in self.result.rows if row["property"] in properties]
        return self.result

    def _groups(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Candidates whose recorded values fit in memory together."""
        group: list[str] = []
        used = 0
        for name in names:
            size = 4 * self.n * int(np.prod(self.subject.model.candidates[name].shape))
            if group and used + size > MEMORY:
                yield group
                group, used = [], 0
            group.append(name)
            used += size
        yield group


def _greater(a: Array, b: Array) -> float:
    """p-value of ``a`` being larger than ``b`` (Mann & Whitney 1947)."""
    return float(mannwhitneyu(a, b, alternative="greater").pvalue)


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
    names = list(model.candidates if candidates is None else candidates)
    wanted = PROPERTIES if properties is None else tuple(properties)
    for argument, given, known in (("candidates", names, model.candidates), ("properties", wanted, PROPERTIES)):
        for name in given:
            if name not in known:
                raise ValueError(f"{argument}: {name!r} is none of {', '.join(known)}")
        if not given:
            raise ValueError(f"{argument}: give at least one of {', '.join(known)}")
    subject = Subject(model, images, phi, None if factors is None else Factors.of(factors), n, seed)
    name = type(model).__name__.lower()
    rows = pd.DataFrame(Examiner(subject).run(names, wanted).rows)
    rows = rows.assign(cell=name, paradigm=name, data="", bottleneck=0)
    return rows[list(COLUMNS)].astype(dict(COLUMNS))
