"""Models that meet the contract and are unlike those that were trained here."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from generators import Chain, Planted
from world import PLACES, phi, render

from analysis import Extent, measure_model, split_model, verdicts
from analysis.experiment.evidence import CLASSES
from analysis.experiment.injection import Injection, inject, shuffled
from analysis.experiment.observations import Observations
from analysis.experiment.pairs import draw_pairs
from analysis.experiment.subject import Subject, value_gram
from analysis.metrics.comparisons import centred_gram
from paradigms.contract import Generation, Kind, LatentCandidate, Path


def measured(model, **more):
    rows = measure_model(model, render(PLACES), phi, factors=PLACES, n=256, **more)
    return rows, verdicts(rows).set_index(["candidate", "property"])["verdict"]


class Noisy(Chain):
    """A feed-forward generator that also draws noise: its stages are no trajectory."""

    candidates: ClassVar = Chain.candidates | {"u": LatentCandidate("u", Kind.NOISE, (2,), Path.LERP)}


class Maps(Noisy):
    """The same with a map of three channels before the first stage, which are no sampling steps."""

    candidates: ClassVar = Noisy.candidates | {"map": LatentCandidate("map", Kind.ACTIVATION, (3, 2, 2), Path.LERP)}

    def generate(self, inputs, *, record=(), edits=None):
        held = torch.cat([inputs["z"], inputs["u"]], dim=1).view(-1, 1, 2, 2).expand(-1, 3, 2, 2)
        held = (edits or {}).get("map", lambda x, step: x)(held.clone(), 0)
        own = dict(inputs) | {"z": held[:, 0, 0]}
        made = super().generate(own, record=[name for name in record if name != "map"], edits=edits)
        return Generation(made.images, dict(made.values) | ({"map": held} if "map" in record else {}))


TINTED = render(PLACES, PLACES.mean(1, keepdim=True))
"""Real images of those that chains make."""


def test_the_channels_of_a_map_inside_a_model_with_noise_are_no_sampling_steps():
    rows = measure_model(Maps(), TINTED, phi, factors=PLACES, n=32, candidates=["map"], properties=["organization"])
    assert set(rows.timestep) == {-1}
    assert {"flat", "pooled"} <= set(rows["view"])


class Clock(Planted):
    """Three steps that each hold one number; the image is what they add up to."""

    candidates: ClassVar = {
        "x_T": LatentCandidate("x_T", Kind.NOISE, (2,), Path.LERP),
        "condition": LatentCandidate("condition", Kind.CONDITION, (1,), Path.LERP),
        "hand": LatentCandidate("hand", Kind.ACTIVATION, (3,), Path.LERP),
    }

    def draw(self, n, generator):
        return {"x_T": torch.rand(n, 2, generator=generator), "condition": torch.rand(n, 1, generator=generator)}

    def generate(self, inputs, *, record=(), edits=None):
        edit = (edits or {}).get("hand", lambda x, step: x)
        hand = torch.stack([edit(inputs["condition"][:, 0].clone(), step) for step in range(3)], dim=1)
        values = dict(inputs) | {"hand": hand}
        place = torch.cat([hand.mean(1, keepdim=True), inputs["x_T"][:, :1]], dim=1)
        return Generation(render(place), {name: values[name] for name in record})


def test_a_number_per_timestep_has_no_parts_either():
    rows = measure_model(Clock(), render(PLACES), phi, factors=PLACES, n=64, candidates=["hand"])
    assert set(rows[rows.estimator == "S_T_noise"].reason) == {"its value has no parts to be shuffled"}
    assert set(rows[rows.estimator == "rsa"].timestep) == {-1, 0, 1, 2}
    assert rows.query("estimator == 'S_T' and headline").value.item() == pytest.approx(1)


def test_a_vector_inside_a_model_with_noise_has_no_sampling_steps():
    rows = measure_model(
        Noisy(), TINTED, phi, factors=PLACES, n=32, candidates=["stage.0"], properties=["organization"]
    )
    assert set(rows.timestep) == {-1}
    assert rows.query("headline").status.tolist() == ["ok"]


class Single(Planted):
    """One number, which is both the row and the column."""

    candidates: ClassVar = {"z": LatentCandidate("z", Kind.PRIOR, (1,), Path.LERP)}

    def draw(self, n, generator):
        return {"z": torch.rand(n, 1, generator=generator)}

    def generate(self, inputs, *, record=(), edits=None):
        return Generation(render(inputs["z"].expand(-1, 2)), {name: inputs[name] for name in record})


def test_one_number_has_all_four_properties_and_no_parts_to_shuffle():
    rows, verdict = measured(Single())
    assert verdict["z"].to_dict() == dict.fromkeys(("relevance", "density", "smoothness", "organization"), "V")
    controls = rows[rows.estimator.isin(["S_T_shuffled", "S_T_noise"])]
    assert set(controls.reason) == {"its value has no parts to be shuffled"}
    assert rows.query("estimator == 'S_T' and headline").reason.tolist() == ["carries: S_1 1.00, no controls"]


LEVELS = torch.arange(8) / 7


class Quantised(Chain):
    """A stage that holds classes, one of eight for each axis, whose places are looked up."""

    candidates: ClassVar = Chain.candidates | {"stage.0": LatentCandidate("stage.0", Kind.ACTIVATION, (2,), Path.LERP)}

    def generate(self, inputs, *, record=(), edits=None):
        codes = (edits or {}).get("stage.0", lambda x, step: x)((8 * inputs["z"]).long(), 0)
        values = dict(inputs) | {"stage.0": codes, "stage.1": LEVELS[codes]}
        return Generation(render(LEVELS[codes]), {name: values[name] for name in record})


def test_classes_inside_a_model_have_neither_neighbourhood_nor_paths():
    rows, verdict = measured(Quantised(), candidates=["stage.0"])
    assert verdict["stage.0"][["density", "smoothness"]].tolist() == ["n/a", "n/a"]
    assert set(rows.query("estimator == 'in_distribution'").reason) == {CLASSES}
    assert verdict["stage.0", "relevance"] == "V"
    assert rows.query("estimator == 'S_T' and headline").reason.tolist() == ["carries: S_1 1.00, no controls"]
    # Equal or not tells less than the levels do.
    assert 0 < rows.query("estimator == 'rsa' and headline").value.item() < 0.6


class Tokens(Planted):
    """Two classes of sixteen levels as an input; neither their path nor the first number matters."""

    def __init__(self, path=Path.LERP, first=0):
        self.candidates, self.first = {"t": LatentCandidate("t", Kind.PRIOR, (2,), path)}, first

    def draw(self, n, generator):
        return {"t": torch.randint(16, (n, 2), generator=generator) + self.first}

    def generate(self, inputs, *, record=(), edits=None):
        return Generation(render((inputs["t"] - self.first) / 15), {name: inputs[name] for name in record})


@pytest.mark.parametrize("path", list(Path))
def test_classes_as_an_input_are_compared_as_equal_or_not(path):
    some, others = (
        measure_model(model, render(PLACES), phi, factors=PLACES, n=144)
        for model in (Tokens(path), Tokens(path, first=10**7))
    )
    rows, again = (found.query("headline").set_index("property") for found in (some, others))
    assert rows.verdict[["density", "smoothness", "relevance"]].tolist() == ["V", "n/a", "V"]
    assert rows.value["organization"] > 0
    assert again.value["organization"] == pytest.approx(rows.value["organization"])
    assert set(some[some.estimator == "mig"].reason) == {"for vector codes only"}


def test_classes_are_injected_whole_or_not_at_all():
    with pytest.raises(ValueError, match="strength must be 1 where values are classes"):
        split_model(Tokens(), phi, extent=Extent(n=24, strength=0.5))


def test_the_gram_matrix_of_classes_is_that_of_one_hot_codes():
    classes = torch.randint(5, (30, 2, 3), generator=torch.Generator().manual_seed(0))
    one_hot = torch.nn.functional.one_hot(classes, 5).flatten(1).double().numpy()
    np.testing.assert_allclose(value_gram(classes), centred_gram(one_hot), atol=1e-12)


class Scalars(Chain):
    """Chain of values without an axis, the first walked on a circle."""

    candidates: ClassVar = {
        "z": LatentCandidate("z", Kind.PRIOR, (), Path.SLERP),
        "stage.0": LatentCandidate("stage.0", Kind.ACTIVATION, (), Path.LERP),
    }

    def draw(self, n, generator):
        return {"z": torch.rand(n, generator=generator)}

    def generate(self, inputs, *, record=(), edits=None):
        value = (edits or {}).get("stage.0", lambda x, step: x)(inputs["z"].clone(), 0)
        values = {"z": inputs["z"], "stage.0": value}
        return Generation(render(value[:, None].expand(-1, 2)), {name: values[name] for name in record})


def test_values_without_an_axis_are_vectors_of_one():
    rows, verdict = measured(Scalars())
    assert verdict["stage.0"][["relevance", "smoothness", "organization"]].tolist() == ["V", "V", "V"]
    assert rows.query("headline and property == 'density'").value.notna().all()


class Precise(Planted):
    """An encoder, and a decoder that takes one type of numbers alone."""

    def __init__(self, dtype):
        self.dtype = dtype

    def draw(self, n, generator):
        return {name: value.to(self.dtype) for name, value in super().draw(n, generator).items()}

    def invert(self, images):
        return {name: PLACES[: len(images)].to(self.dtype) for name in ("z", "u")}

    def image(self, z, u):
        return render((z @ torch.eye(2, dtype=self.dtype)).float())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_draws_among_codes_are_of_the_codes_type(dtype):
    rows = measure_model(Precise(dtype), render(PLACES), phi, n=64, candidates=["mu"])
    assert rows.query("headline").value.notna().all()


class Broken(Planted):
    """Makes one image in a hundred that is no image."""

    def image(self, z, u):
        return torch.where((z[:, 0] < 0.01)[:, None, None, None], torch.nan, render(z))


def test_a_model_that_makes_nan_is_named():
    with pytest.raises(ValueError, match="images must be finite: the model makes NaN"):
        measure_model(Broken(), render(PLACES), phi, n=512)


class Switch(Planted):
    """Two images, chosen by whether z lies left or right: most walks lead nowhere."""

    def image(self, z, u):
        return render((z[:, :1] > 0.5).float().expand(-1, 2))


class Dead(Chain):
    """A first stage whose value never changes."""

    def generate(self, inputs, *, record=(), edits=None):
        made = super().generate(inputs, record=("stage.1",), edits={})
        values = dict(inputs) | {"stage.0": torch.zeros_like(inputs["z"]), "stage.1": made.values["stage.1"]}
        return made.__class__(made.images, {name: values[name] for name in record})


@pytest.mark.parametrize("seed", range(3))
def test_walks_that_stand_still_are_no_crash(seed):
    rows = measure_model(Switch(), render(PLACES), phi, n=24, seed=seed, candidates=["z"])
    assert rows.query("status == 'ok'").value.notna().all()


def test_a_value_that_never_changes_is_no_crash():
    rows = measure_model(Dead(), TINTED, phi, factors=PLACES, n=32, candidates=["stage.0"])
    assert rows.query("property == 'organization' and headline").reason.tolist() == ["its value never changes"]


class Small(Chain):
    """A first stage whose value varies on a scale of its own."""

    def generate(self, inputs, *, record=(), edits=None):
        made = super().generate(inputs, record=record, edits={})
        return made.__class__(made.images, {name: 1e-7 * value for name, value in made.values.items()})


def test_whether_a_value_varies_does_not_depend_on_its_units():
    rows = measure_model(
        Small(), TINTED, phi, factors=PLACES, n=64, candidates=["stage.0"], properties=["organization"]
    )
    assert rows.query("headline").verdict.tolist() == ["V"]


def test_the_twins_values_are_compared_step_by_step():
    subject = Subject(Noisy(), TINTED, None, 24, 0)
    values = torch.randn(24, 3, 5, 2, generator=torch.Generator().manual_seed(0))
    candidate = LatentCandidate("h", Kind.ACTIVATION, (3, 5, 2), Path.LERP)
    subject.steps = {"h": 3}
    population = replace(subject.populations["stage.0"], candidate=candidate, place="h")
    observed = Observations(subject, population, values, subject.images[:24], values, None, None)
    assert observed.has_steps
    np.testing.assert_allclose(observed.twin_gram, centred_gram(values.double().flatten(1).numpy()))
    np.testing.assert_allclose(observed.twin_gram, observed.gram)


class Halves(Clock):
    """The same with two halves of three numbers at each step, as guidance leaves them."""

    candidates: ClassVar = Clock.candidates | {"hand": LatentCandidate("hand", Kind.ACTIVATION, (3, 2, 3), Path.LERP)}

    def generate(self, inputs, *, record=(), edits=None):
        edit = (edits or {}).get("hand", lambda x, step: x)
        numbers = inputs["condition"][:, :, None] * torch.tensor([1.0, 0.5, 0.2])
        hand = torch.stack([edit(numbers.expand(-1, 2, -1).clone(), step) for step in range(3)], dim=1)
        values = dict(inputs) | {"hand": hand}
        return Generation(render(hand[:, -1, 0, :2]), {name: values[name] for name in record})


def test_a_control_at_a_timestep_knows_nothing_of_other_pairs():
    _independent, pairs = draw_pairs(Halves(), 4, torch.Generator().manual_seed(0))
    plan = [Injection(("hand",), shuffled)]
    alone = torch.cat([inject(Halves(), pairs.part(i, i + 1), plan, "one") for i in range(4)])
    together = inject(Halves(), pairs, plan, "all")
    assert torch.equal(together, alone)
    assert (together[:, 2] != together[:, 1]).flatten(1).any(dim=1).all()
