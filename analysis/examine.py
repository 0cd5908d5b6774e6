"""The four properties of every candidate of one model, as tidy rows."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis import density, organization, relevance, smoothness
from analysis.calibration import ABSENT, Estimate, holm, max_statistic, verdict
from analysis.evidence import Evidence
from analysis.injection import Injection, inject, matched_noise, shuffled
from analysis.interventions import groups, record_all
from analysis.measures import JOINT, Finding, Measure, MissingError
from analysis.prepared import principal_scores
from analysis.reference import Reference
from analysis.results import COLUMNS, PROPERTIES, blank_row, injected
from analysis.subject import Factors, Phi, Subject
from analysis.trials import Trials
from datamodules import progress
from paradigms.contract import GenerativeModel, LatentCandidate

Array = NDArray[np.float64]

UNDEFINED = "undefined on these pairs"
CHANCE = "at its best the measure gives no more than by chance"

MEASURES = tuple(
    found
    for module in (density, smoothness, organization, relevance)
    for found in vars(module).values()
    if isinstance(found, Measure)
)
"""Every measure, in the order of the properties and within each as its file has them."""


@dataclass
class Examination:
    """Rows, and what pictures of them are made from.

    Attributes:
        rows: Tidy rows without the columns that describe the cell.
        pictures: Example images (R, columns, C, H, W) by (candidate, property).
        images: (n, C, H, W), the images whose values were recorded.
        scores: Principal scores (n, k) of each candidate's recorded values.
        factor_values: Factors of ``images`` as read from the first φ.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    images: Tensor = field(default_factory=lambda: torch.empty(0))
    scores: dict[str, Array] = field(default_factory=dict)
    factor_values: list[Array] = field(default_factory=list)


class Examiner:
    """Measures the candidates of one subject and collects the rows.

    Args:
        subject: The model and its images.
        phis: Feature spaces by name; the verdicts come from the first.
    """

    def __init__(self, subject: Subject, phis: Mapping[str, Phi]) -> None:
        self.subject = subject
        self.references = [Reference(subject, phi, name) for name, phi in phis.items()]
        self.result = Examination()
        self.headlines: dict[str, list[dict[str, Any]]] = {}
        self.permuted: list[tuple[dict[str, Any], Estimate]] = []

    def run(self, names: Sequence[str], properties: Collection[str]) -> Examination:
        """Measure the candidates ``names`` for ``properties``."""
        subject, result = self.subject, self.result
        injected, controls = self._inject(names)
        for group in groups(subject.model, names, subject.n if subject.twin is None else 2 * subject.n):
            what = f"record {group[0]}…{group[-1]}"
            result.images, values = record_all(subject.model, subject.recorded, group, what)
            twins: Mapping[str, Tensor] = {}
            if subject.twin is not None:
                twins = record_all(subject.twin, subject.recorded, group, f"{what} of the untrained twin")[1]
            recorded = [reference.features(result.images) for reference in self.references]
            for name in group:
                progress.stage("measuring", len(result.scores), len(names))
                candidate = subject.model.candidates[name]
                more = (twins.get(name), injected.get(name), controls.get(name))
                trials = Trials(subject, candidate, values[name], *more)
                for reference, features in zip(self.references, recorded, strict=True):
                    self._measure(Evidence(trials, reference, features), properties)
                self._illustrate(trials, properties)
        if (readout := self.references[0].readout) is not None:
            result.factor_values = readout.read(recorded[0])
        self._adjust()
        return result

    def _measure(self, evidence: Evidence, properties: Collection[str]) -> None:
        """All measures of one candidate in one feature space."""
        main = evidence.reference is self.references[0]
        for prop in properties:
            guards: list[tuple[Measure, dict[str, Any]]] = []
            headline: dict[str, Any] = {}
            for measure in (m for m in MEASURES if m.property == prop):
                for row in self._rows(measure, evidence):
                    whole = row["target"] == "all" and row["timestep"] == JOINT and row["view"] in ("", "flat")
                    row["headline"] = measure.headline and whole and main
                    if measure.headline and whole:
                        headline = row
                    elif measure.guard:
                        guards.append((measure, row))
                    self.result.rows.append(row)
            for guard, row in guards:
                contradicts = row["verdict"] == "X" or row["ci_high"] < guard.floor
                if contradicts and headline["verdict"] == "V" and headline["status"] == "ok":
                    headline |= {"verdict": "~", "status": guard.guard, "reason": guard.caution}
            self.headlines.setdefault(evidence.reference.name, []).append(headline)

    def _rows(self, measure: Measure, evidence: Evidence) -> Iterator[dict[str, Any]]:
        """Tidy rows of one measure; one that is ``n/a`` where something that it needs is missing."""
        candidate = evidence.trials.candidate
        try:
            for need in measure.needs:
                getattr(evidence, need)
            for finding in measure.find(evidence):
                yield self._row(measure, evidence, candidate, finding)
        except MissingError as missing:
            row = self._blank(measure, evidence, candidate)
            yield row | {"status": missing.status, "reason": missing.reason}

    def _row(
        self, measure: Measure, evidence: Evidence, candidate: LatentCandidate, finding: Finding
    ) -> dict[str, Any]:
        estimate = finding.estimate
        row = self._blank(measure, evidence, candidate)
        row |= {"target": finding.target, "protocol": finding.protocol}
        row |= {"view": finding.view, "timestep": finding.timestep, "n": finding.n or evidence.n}
        if not (estimate.ceiling > estimate.null if measure.higher_is_better else estimate.ceiling < estimate.null):
            return row | {"reason": CHANCE}
        if not np.isfinite(estimate.value):
            return row | {"reason": UNDEFINED}
        score, low, high = estimate.scores()
        row |= {"value": estimate.value, "value_low": estimate.low, "value_high": estimate.high}
        row |= {"null": estimate.null, "ceiling": estimate.ceiling}
        row |= {"score": score, "ci_low": low, "ci_high": high, "p_value": estimate.p_value}
        row |= {"status": finding.status, "reason": finding.reason}
        row["verdict"] = verdict(score, low, high, estimate.p_value)
        if estimate.permuted:
            self.permuted.append((row, estimate))
        return row

    def _blank(self, measure: Measure, evidence: Evidence, candidate: LatentCandidate) -> dict[str, Any]:
        """A row without a number."""
        injects = measure.property in ("relevance", "smoothness") and evidence.protocol
        return blank_row(
            candidate=candidate.name,
            kind=str(candidate.kind),
            property=measure.property,
            estimator=measure.estimator,
            phi=evidence.reference.name,
            n=evidence.n,
            seed=evidence.seed,
            **(injected(evidence.protocol) if injects else {}),
        )

    def _adjust(self) -> None:
        """Judge p-values together: a space's headlines by Holm, those that share permutations by the largest."""
        for rows in self.headlines.values():
            for row, p_value in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
                row["p_adjusted"] = float(p_value)
                if row["verdict"] != "n/a" and p_value >= 0:
                    judged = verdict(row["score"], row["ci_low"], row["ci_high"], float(p_value))
                    if judged == "X" and row["ci_high"] >= ABSENT:
                        row["verdict"] = "X"
                        if row["status"] != "vacuous":
                            reason = f"chance does as well: p {p_value:.2g}, all verdicts of the model judged together"
                            row |= {"status": "chance", "reason": reason}
        families: dict[tuple[str, str, str], list[tuple[dict[str, Any], Estimate]]] = {}
        for row, estimate in self.permuted:
            families.setdefault((row["estimator"], row["phi"], row["view"]), []).append((row, estimate))
        for family in families.values():
            values = np.array([estimate.value for _row, estimate in family])
            adjusted = max_statistic(values, np.array([estimate.permuted for _row, estimate in family]))
            for (row, _estimate), p_value in zip(family, adjusted, strict=True):
                row["p_max"] = float(p_value)

    def _inject(self, names: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """O, E and C of each candidate that has valid pairs, and controls of an eighth of them where it has parts."""
        found: dict[str, Tensor] = {}
        controls: dict[str, Tensor] = {}
        for pairs in {id(p): p for p in map(self.subject.pairs, names) if p}.values():
            own = [name for name in names if self.subject.pairs(name) is pairs]
            images = inject(self.subject.model, pairs, [Injection((name,)) for name in own], "relevance")
            found |= {name: images[:, [0, 1, 2 + i]] for i, name in enumerate(own)}
            parted = [name for name in own if math.prod(self.subject.at_step(name).shape) > 1]
            if not parted:
                continue
            plan = [Injection((name,), move) for name in parted for move in (shuffled, matched_noise)]
            images = inject(self.subject.model, pairs.part(0, self.subject.few), plan, "controls")
            controls |= {name: images[:, [0, 1, 2 + 2 * i, 3 + 2 * i]] for i, name in enumerate(parted)}
        return found, controls

    def _illustrate(self, trials: Trials, properties: Collection[str]) -> None:
        """Examples of what was measured. Walks that no measure asked for are not made."""
        pictures, name, made = self.result.pictures, trials.name, vars(trials)
        self.result.scores[name] = principal_scores(trials.gram, min(64, self.subject.n // 4))
        if trials.injected is not None and "relevance" in properties:
            pictures[name, "relevance"] = trials.injected[:8]
        if "density" in properties and trials.has_distribution:
            pictures[name, "density"] = trials.fresh[:24].unflatten(0, (-1, 8))
        if "walks" in made:
            pictures[name, "smoothness"] = trials.walks[:4]
        if "organization" in properties:
            gram = trials.gram
            distances = np.add.outer(np.diag(gram), np.diag(gram)) - 2 * gram
            nearest = np.argsort(distances[:4], axis=1)[:, :8]
            pictures[name, "organization"] = self.result.images[torch.as_tensor(nearest)]


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
    subject = Subject(model, images, None if factors is None else Factors.of(factors), n, seed)
    name = type(model).__name__.lower()
    rows = pd.DataFrame(Examiner(subject, {"phi": phi}).run(names, wanted).rows)
    rows = rows.assign(cell=name, paradigm=name, data="", bottleneck=0)
    return rows[list(COLUMNS)].astype(dict(COLUMNS))
