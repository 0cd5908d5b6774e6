"""The identities that every paradigm meets; paradigms are found by globbing their configurations."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from tiny_training import CONFIGS, NARROW, PARADIGMS

from datamodules.base import Factor, FactorKind, Role
from datamodules.errors import InputError
from paradigms.contract import Invertible, Kind, Path, Projectable, Resumable


def build(paradigm, *overrides, size=32):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", overrides=[f"paradigm={paradigm}", *overrides])
    config = config.paradigm
    config.image_shape = [3, size, size]
    if paradigm == "diffusion":
        config.condition_width = 5
    return instantiate(config, _convert_="all")


def test_guidance_keeps_both_halves_of_a_value():
    torch.manual_seed(0)
    plain, guided = (build("diffusion", f"paradigm.guidance={scale}").model for scale in (1, 2))
    assert guided.candidates["h"].shape == (plain.candidates["h"].shape[0], 2, *plain.candidates["h"].shape[1:])
    guided.load_state_dict(plain.state_dict())
    inputs = pair(plain)
    # Where the condition is the dropped one, both halves agree and guidance changes nothing.
    for module in (plain, guided):
        module.embed.requires_grad_(False)
        for parameter in module.embed.parameters():
            parameter.zero_()
    torch.testing.assert_close(guided.generate(inputs).images, plain.generate(inputs).images, atol=1e-4, rtol=0)


MODELS = {f"{paradigm} {size}": (paradigm, (), size) for paradigm in PARADIGMS for size in (28, 32)}
MODELS |= {f"{paradigm} 48": (paradigm, ("bottleneck=36",), 48) for paradigm in PARADIGMS}
MODELS["guided"] = ("diffusion", ("paradigm.guidance=2",), 32)
MODELS["told in the encoder"] = ("diffusion", ("paradigm.condition_into=encoder",), 32)
MODELS["guided in the bottleneck"] = ("diffusion", ("paradigm.guidance=2", "paradigm.condition_into=bottleneck"), 32)
# A size that is odd within.
MODELS["gan 36"] = ("gan", (), 36)


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def model(request):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    paradigm, overrides, size = request.param
    yield build(paradigm, *NARROW[paradigm], *overrides, size=size).model
    torch.set_num_threads(threads)


def pair(model):
    generator = torch.Generator().manual_seed(1)
    both = dict(model.draw(2, generator))
    for name, value in both.items():
        if model.candidates[name].kind is Kind.CONDITION:
            both[name] = torch.randn(value.shape, generator=generator)
        if model.candidates[name].kind is Kind.NOISE:
            both[name] = value[:1].repeat(2, *[1] * (value.ndim - 1))
    return both


def inside(model):
    return [name for name in model.candidates if name not in model.draw(1, torch.Generator())]


def test_recorded_values_have_the_declared_shapes(model):
    generation = model.generate(pair(model), record=list(model.candidates))
    for name, candidate in model.candidates.items():
        assert generation.values[name].shape == (2, *candidate.shape), name


def test_generation_is_deterministic_and_in_range(model):
    inputs = pair(model)
    first, second = model.generate(inputs).images, model.generate(inputs).images
    assert torch.equal(first, second)
    assert first.abs().max() <= 1


def test_editing_with_the_own_recorded_value_changes_nothing(model):
    inputs = pair(model)
    plain = model.generate(inputs, record=inside(model))
    for name in inside(model):
        value = plain.values[name]

        def edit(activations, step, value=value):
            return value if value.ndim == activations.ndim else value[:, step]

        assert torch.equal(model.generate(inputs, edits={name: edit}).images, plain.images), name


def test_injecting_o_into_o_changes_nothing_and_e_is_untouched(model):
    inputs = pair(model)
    plain = model.generate(inputs).images

    def own(activations, _step):
        activations[0] = activations[0].clone()
        return activations

    def injected(activations, _step):
        activations[0] = activations[1]
        return activations

    for name in inside(model):
        assert torch.equal(model.generate(inputs, edits={name: own}).images, plain), name
        assert torch.equal(model.generate(inputs, edits={name: injected}).images[1], plain[1]), name


def test_injecting_the_last_layer_gives_e(model):
    inputs = pair(model)
    plain = model.generate(inputs).images

    def injected(activations, _step):
        activations[0] = activations[1]
        return activations

    images = model.generate(inputs, edits={inside(model)[-1]: injected}).images
    assert not torch.equal(plain[0], plain[1])
    assert torch.equal(images[0], images[1])


def test_hooks_are_removed_also_when_a_step_raises(model):
    inputs = pair(model)
    name = inside(model)[0]
    before = model.generate(inputs).images
    with pytest.raises(ValueError, match="returned shape"):
        model.generate(inputs, edits={name: lambda activations, _step: activations[:1]})
    assert torch.equal(model.generate(inputs).images, before)


def test_a_batch_equals_single_images(model):
    inputs = pair(model)
    together = model.generate(inputs).images
    alone = torch.cat([model.generate({k: v[i : i + 1] for k, v in inputs.items()}).images for i in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_unknown_names_and_edits_of_inputs_are_refused(model):
    inputs = pair(model)
    with pytest.raises(ValueError, match="no candidate"):
        model.generate(inputs, record=["nowhere"])
    with pytest.raises(ValueError, match="is an input"):
        model.generate(inputs, edits={next(iter(inputs)): lambda activations, _step: activations})


def test_inversion_gives_the_inputs(model):
    if not isinstance(model, Invertible):
        pytest.skip("this paradigm has no encoder")
    inputs = model.invert(model.generate(model.draw(2, torch.Generator())).images)
    assert {k: v.shape for k, v in inputs.items()} == {k: v.shape for k, v in model.draw(2, torch.Generator()).items()}


def test_projection_gives_all_inputs_and_keeps_what_is_known(model, monkeypatch):
    monkeypatch.setattr("paradigms.gan.DESCENTS", 5)
    if not isinstance(model, Projectable):
        pytest.skip("this paradigm has an encoder")
    inputs = pair(model)
    known = {name: value for name, value in inputs.items() if model.candidates[name].kind is Kind.CONDITION}
    images = model.generate(inputs).images
    found = model.project(images, known)
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in inputs.items()}
    assert all(torch.equal(found[name], value) for name, value in known.items())
    assert not any(value.requires_grad for value in found.values())
    assert all(torch.equal(found[name], value) for name, value in model.project(images, known).items())


def test_a_generation_goes_on_from_any_of_its_states(model):
    if not isinstance(model, Resumable):
        pytest.skip("this paradigm has no steps")
    inputs = pair(model)
    name, plain = inside(model)[0], model.generate(inputs).images
    states = model.states(inputs)
    assert torch.equal(states[:, 0], inputs["x_T"])
    seen = []

    def late(activations, step):
        seen.append(step)
        return activations + 1 if step >= 2 else activations

    edited = model.generate(inputs, edits={name: late}).images
    assert seen == list(range(states.shape[1]))
    assert not torch.equal(edited, plain)
    for step in (0, 2):
        assert torch.equal(model.resume(inputs, states[:, step], step).images, plain)
        seen.clear()
        assert torch.equal(model.resume(inputs, states[:, step], step, edits={name: late}).images, edited)
        assert seen == list(range(step, states.shape[1]))


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_a_bottleneck_of_0_is_refused(paradigm):
    with pytest.raises(Exception, match="bottleneck=0") as raised:
        build(paradigm, "bottleneck=0")
    assert isinstance(raised.value, InputError) or isinstance(raised.value.__cause__, InputError)


def test_the_defaults_have_as_many_parameters():
    counts = [build(paradigm).trained_parameters for paradigm in PARADIGMS]
    assert max(counts) / min(counts) < 1.1


def test_cut_skips_are_no_candidates():
    kept = build("diffusion", "paradigm.skips=[0,1]").model.candidates
    assert [name for name in kept if name.startswith("skip.")] == ["skip.0", "skip.1"]


@pytest.mark.parametrize("scale", [1, 2])
def test_what_attention_adds_reaches_the_trunk_and_the_skip(scale):
    model = build("diffusion", f"paradigm.guidance={scale}").model
    inputs, names = model.draw(2, torch.Generator().manual_seed(0)), ["down.3", "skip.7"]
    trunk, skip = model.generate(inputs, record=names).values.values()
    edits = {"down.3.attn.0": lambda activations, _step: activations + 1}
    moved_trunk, moved_skip = model.generate(inputs, record=names, edits=edits).values.values()
    assert torch.equal(trunk, skip)
    assert torch.equal(moved_trunk, moved_skip)
    # At later steps x_t has moved as well.
    assert torch.allclose(moved_trunk[:, 0], trunk[:, 0] + 1, atol=1e-5)
    assert model.candidates["down.3.attn.0"].tokens
    assert not model.candidates["down.3"].tokens


def test_a_bottleneck_of_1_is_walked_on_a_line():
    assert build("gan", "bottleneck=1").model.candidates["z"].path is Path.LERP


@pytest.mark.parametrize("setting", ["skips=some", "skips=[99]", "sampler_steps=0", "sampler_steps=1001"])
def test_settings_of_diffusion_are_named(setting):
    with pytest.raises(Exception, match=setting.split("=")[0]) as raised:
        build("diffusion", f"paradigm.{setting}")
    assert isinstance(raised.value.__cause__, InputError)


def test_the_last_timestep_is_in_the_schedule(monkeypatch):
    paradigm = build("diffusion")
    paradigm.factors = (Factor("x", FactorKind.CONTINUOUS, 0, Role.STRUCTURE),) * 5
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, 1 - 2**-24))
    batch = {"image": torch.zeros(16, 3, 32, 32), "factors": torch.zeros(16, 5), "caption": []}
    assert torch.isfinite(paradigm.losses(batch)["loss"])
