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
from analysis.experiment.contact import Contact, contact, contacts_of_data
from analysis.experiment.evidence import Evidence, MissingError
from analysis.experiment.generation import first_images, groups, record_all
from analysis.experiment.images import checked_images
from analysis.experiment.injection import Injection, inject, matched_noise, shuffled
from analysis.experiment.measures import Finding, Measure
from analysis.experiment.observations import Observations
from analysis.experiment.population import Population
from analysis.experiment.ruler import Ruler
from analysis.experiment.subject import SMALLEST, Subject
from analysis.features.factors import Factors, Phi
from analysis.judgement import doubt, judge
from analysis.metrics.calibration import SIGNIFICANT, Estimate, verdict
from analysis.metrics.checks import check_seed
from analysis.metrics.comparisons import principal_scores
from analysis.results import COLUMNS, JOINT, PROPERTIES, blank_row, injected
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
        contacts: What the eye is to judge: real images, their cross-fades, and draws and walks of each input.
        images: (N, C, H, W), the images whose values were recorded.
        scores: Principal scores (n, k) of each candidate's recorded values, and the position of its first image.
        factor_values: Factors of ``images`` as read from the first φ.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    contacts: list[Contact] = field(default_factory=list)
    images: Tensor = field(default_factory=lambda: torch.empty(0))
    scores: dict[str, tuple[int, Array]] = field(default_factory=dict)
    factor_values: list[Array] = field(default_factory=list)


@dataclass(frozen=True)
class Recorded:
    """Populations that share their inputs, their images (n, C, H, W), values by place, and those of the twin."""

    populations: Sequence[Population]
    images: Tensor
    values: Mapping[str, Tensor]
    twins: Mapping[str, Tensor]


class Examiner:
    """Measures the candidates of one subject and collects the rows.

    Args:
        subject: The model and its images.
        phis: Feature spaces by name; the verdicts come from the first.
    """

    def __init__(self, subject: Subject, phis: Mapping[str, Phi]) -> None:
        self.subject = subject
        self.rulers = [Ruler(subject, phi, name) for name, phi in phis.items()]
        self.result = Examination()
        self.position = 0
        self.headlines: dict[str, list[dict[str, Any]]] = {}
        self.permuted: list[tuple[dict[str, Any], Estimate]] = []

    def run(self, names: Sequence[str], properties: Collection[str]) -> Examination:
        """Measure the candidates ``names`` for ``properties``."""
        chosen = [self.subject.populations[name] for name in names]
        injected, controls = self._inject(chosen)
        images: list[Tensor] = []
        read: list[list[Array]] = []
        readout = self.rulers[0].readout
        for coded in sorted({population.coded for population in chosen}):
            own = [population for population in chosen if population.coded == coded]
            for first, recorded in enumerate(self._record(own)):
                features = [ruler.features(recorded.images) for ruler in self.rulers]
                if not first:
                    self.position = sum(map(len, images))
                    images.append(recorded.images)
                    read.append([] if readout is None else readout.read(features[0]))
                for population in recorded.populations:
                    progress.stage("measuring", len(self.result.scores), len(names))
                    place, name = population.place, population.name
                    values = (recorded.values[place], recorded.images, recorded.twins.get(place))
                    observed = Observations(self.subject, population, *values, injected.get(name), controls.get(name))
                    of_spaces = [
                        Evidence(observed, ruler, found) for ruler, found in zip(self.rulers, features, strict=True)
                    ]
                    for evidence in of_spaces:
                        self._measure(evidence, properties)
                    self._illustrate(of_spaces[0], properties)
        self.result.images = torch.cat(images)
        self.result.contacts = [*contacts_of_data(self.rulers[0]), *self.result.contacts]
        if readout is not None:
            self.result.factor_values = [np.concatenate(parts) for parts in zip(*read, strict=True)]
        judge(self.headlines.values(), self.permuted)
        return self.result

    def _record(self, populations: Sequence[Population]) -> Iterator[Recorded]:
        """Values of populations that share their inputs, as many at a time as fit in memory."""
        subject = self.subject
        by_place = {population.place: population for population in populations}
        n = max(map(len, populations), default=0)
        for group in groups(subject.model, list(by_place), n if subject.twin is None else 2 * n):
            own = [by_place[place] for place in group]
            what = f"record {own[0].name}…{own[-1].name}"
            images, values = record_all(subject.model, own[0].recorded, group, what)
            twins: Mapping[str, Tensor] = {}
            if subject.twin is not None:
                twins = record_all(subject.twin, own[0].recorded, group, f"{what} of the untrained twin")[1]
            yield Recorded(own, images, values, twins)

    def _measure(self, evidence: Evidence, properties: Collection[str]) -> None:
        """All measures of one candidate in the first feature space; in others those that decide a verdict."""
        main = evidence.ruler is self.rulers[0]
        for prop in properties:
            guards: list[tuple[Measure, dict[str, Any]]] = []
            headline: dict[str, Any] = {}
            for measure in (m for m in MEASURES if m.property == prop and (main or m.headline or m.guard)):
                for row in self._rows(measure, evidence):
                    whole = row["target"] == "all" and row["timestep"] == JOINT and row["view"] in ("", "flat")
                    row["headline"] = measure.headline and whole and main
                    if measure.headline and whole:
                        headline = row
                    elif measure.guard:
                        guards.append((measure, row))
                    self.result.rows.append(row)
            for guard, row in guards:
                contradicts = row["ci_high"] < guard.floor or row["p_value"] >= SIGNIFICANT
                if contradicts and headline["verdict"] == "V" and headline["status"] == "ok":
                    letter = "V" if guard.mild else "~"
                    headline |= {"verdict": letter, "status": guard.guard, "reason": guard.caution}
            doubt(headline, evidence.own, evidence.ruler)
            self.headlines.setdefault(evidence.ruler.name, []).append(headline)

    def _rows(self, measure: Measure, evidence: Evidence) -> Iterator[dict[str, Any]]:
        """Tidy rows of one measure; one that is ``n/a`` where something that it needs is missing."""
        candidate = evidence.observed.candidate
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
            phi=evidence.ruler.name,
            n=evidence.n,
            seed=evidence.seed,
            **(injected(evidence.protocol) if injects else {}),
        )

    def _inject(self, populations: Sequence[Population]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """O, E and C of each population that has valid pairs, and controls of some where it has parts.

        Of what does not move the image in the first pairs there are no more of either.
        """
        found: dict[str, Tensor] = {}
        controls: dict[str, Tensor] = {}
        model, first = self.subject.model, self.subject.first
        for pairs in {id(p.pairs): p.pairs for p in populations if p.pairs}.values():
            own = [population for population in populations if population.pairs is pairs]
            images = inject(model, pairs.part(0, first), [Injection((p.place,)) for p in own], "relevance")
            found |= {p.name: images[:, [0, 1, 2 + i]] for i, p in enumerate(own)}
            moving = [p for p in own if any(ruler.stirs(found[p.name]) for ruler in self.rulers)]
            if moving and first < len(pairs):
                plan = [Injection((p.place,)) for p in moving]
                images = inject(model, pairs.part(first, len(pairs)), plan, "relevance of what moves the image")
                found |= {p.name: torch.cat([found[p.name], images[:, [0, 1, 2 + i]]]) for i, p in enumerate(moving)}
            parted = [p for p in moving if math.prod(self.subject.at_step(p.place).shape) > 1]
            if not parted:
                continue
            plan = [Injection((p.place,), move) for p in parted for move in (shuffled, matched_noise)]
            images = inject(model, pairs.part(0, self.subject.few), plan, "controls")
            controls |= {p.name: images[:, [0, 1, 2 + 2 * i, 3 + 2 * i]] for i, p in enumerate(parted)}
        return found, controls

    def _illustrate(self, evidence: Evidence, properties: Collection[str]) -> None:
        """Examples of what was measured. Walks that no measure asked for are not made."""
        observed, pictures = evidence.observed, self.result.pictures
        name, made = observed.name, vars(observed)
        self.result.scores[name] = self.position, principal_scores(observed.gram, min(64, evidence.n // 4))
        if observed.injected is not None and "relevance" in properties:
            pictures[name, "relevance"] = observed.injected[:8]
        if "density" in properties and observed.has_distribution:
            lines = min(3, len(observed.fresh) // 8)
            pictures[name, "density"] = observed.fresh[: 8 * lines].unflatten(0, (lines, 8))
        if "walks" in made:
            pictures[name, "smoothness"] = observed.walks[:4]
        if "organization" in properties:
            gram = observed.gram
            distances = np.add.outer(np.diag(gram), np.diag(gram)) - 2 * gram
            nearest = np.argsort(distances[:4], axis=1)[:, :8]
            pictures[name, "organization"] = observed.images[torch.as_tensor(nearest)]
        if observed.population.is_input and "density" in properties:
            self.result.contacts.append(contact(evidence))


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
        n: Images, pairs and draws behind each number; walks are an eighth of it, but at least 64 of as many pairs.
        seed: Of all draws and resampling.
        candidates: Names to measure; all by default. Where the model finds the input ``z`` of an image, ``mu`` is the
            codes of real images there, beside ``z`` as it is drawn.
        properties: Properties to measure; all four by default.

    Returns:
        Tidy rows, see :data:`analysis.results.COLUMNS`.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """
    images = checked_images(images, first_images(model, check_seed(seed)), SMALLEST)
    subject = Subject(model, images, None if factors is None else Factors.of(factors), n, seed)
    for argument, given in (("candidates", candidates), ("properties", properties)):
        if isinstance(given, str):
            raise ValueError(f"{argument} must be a list of names, not a text: give [{given!r}]")
    names = list(subject.populations if candidates is None else candidates)
    wanted = PROPERTIES if properties is None else tuple(properties)
    for argument, given, known in (("candidates", names, subject.populations), ("properties", wanted, PROPERTIES)):
        for name in given:
            if name not in known:
                raise ValueError(f"{argument}: {name!r} is none of {', '.join(known)}")
        if not given:
            raise ValueError(f"{argument}: give at least one of {', '.join(known)}")
    name = type(model).__name__.lower()
    rows = pd.DataFrame(Examiner(subject, {"phi": phi}).run(names, wanted).rows)
    rows = rows.assign(cell=name, paradigm=name, data="", bottleneck=0)
    return rows[list(COLUMNS)].astype(dict(COLUMNS))
