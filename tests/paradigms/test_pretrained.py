"""Pipelines of every family as models: the identities of the contract, text in parts, prompts, errors."""

import pytest
import torch

pytest.importorskip("transformers")

from tiny_families import CONFIGS, PROMPTS, family
from tiny_pipelines import BUILDERS, save

from analysis import measure_model
from analysis.experiment.injection import Injection, inject
from analysis.experiment.pairs import draw_pairs, draw_role_pairs
from paradigms.contract import Kind, Varied
from paradigms.pretrained.pipeline import load
from paradigms.pretrained.prompts import Prompts


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def saved(request, tmp_path_factory):
    return request.param, save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(saved):
    return load(family=family(saved[0]), prompts=PROMPTS, **saved[1])


@pytest.fixture(scope="module")
def sd14(tmp_path_factory):
    return save("sd14", tmp_path_factory.mktemp("sd14"))


def inside(model):
    return list(model.sites)


def pair(model):
    """O and E that share all noise and differ in everything else."""
    o, e = (model.encode([text]) for text in (PROMPTS.texts[0], PROMPTS.texts[-1]))
    noise = model.draw(1, torch.Generator().manual_seed(1))
    return {name: torch.cat([o[name], e[name]]) if name in o else noise[name].repeat_interleave(2, 0) for name in noise}


def rows(model):
    """Row 0 is O and row 1 is E; then O again for every candidate inside."""
    return {
        name: torch.cat([value, value[:1].repeat_interleave(len(inside(model)), 0)])
        for name, value in pair(model).items()
    }


def into_own_row(model, values):
    """Edits that set row 2 + k alone, at the k-th candidate inside."""
    edits = {}
    for k, name in enumerate(inside(model)):

        def edit(activations, step, k=k, name=name):
            activations[2 + k] = values(name, activations, step)[2 + k]
            return activations

        edits[name] = edit
    return edits


def test_every_family_is_built():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(BUILDERS)


def test_recorded_values_have_the_declared_shapes(model):
    generation = model.generate(pair(model), record=list(model.candidates))
    assert generation.images.shape[:2] == (2, 3)
    assert generation.images.abs().max() <= 1
    assert generation.images.std() > 1e-3
    assert f"{len(model.candidates)} latent candidates" in model.memory(2, list(model.candidates))
    for name, candidate in model.candidates.items():
        assert generation.values[name].shape == (2, *candidate.shape), name
        assert torch.isfinite(generation.values[name]).all(), name


def test_own_values_change_nothing_and_others_leave_e_alone(model):
    inputs = rows(model)
    plain = model.generate(inputs, record=inside(model))
    assert torch.equal(model.generate(inputs).images, plain.images)

    def own(name, _activations, step):
        value = plain.values[name]
        return value if model.sites[name].once else value[:, step]

    assert torch.equal(model.generate(inputs, edits=into_own_row(model, own)).images, plain.images)

    def injected(_name, activations, _step):
        return activations[1:2].expand_as(activations)

    changed = model.generate(inputs, edits=into_own_row(model, injected)).images
    assert torch.equal(changed[:2], plain.images[:2])
    assert not torch.equal(changed[2], plain.images[2])
    if "vae_latent" in model.sites:
        # Nothing else enters behind the decoder's entrance, nor behind the last layer at every step.
        assert torch.equal(changed[-1], plain.images[1])
        assert torch.equal(changed[-2], plain.images[1])


def test_all_of_e_is_e(model):
    inputs = pair(model)
    plain = model.generate(inputs).images
    assert not torch.equal(plain[0], plain[1])

    def injected(activations, _step):
        activations[0] = activations[1]
        return activations

    images = model.generate(inputs, edits=dict.fromkeys(inside(model), injected)).images
    assert torch.equal(images[0], plain[1])
    assert torch.equal(images[1], plain[1])


def test_images_are_the_pipelines_own(model):
    """Of the prompt itself: nothing is lost in the parts of the text, nor are the constants others than its own."""
    (text,) = PROMPTS.texts[:1]
    noise = {name: value for name, value in model.draw(1, torch.Generator()).items() if name in model.family.noise}
    latents = {model.family.noise[name]: value for name, value in noise.items()}
    # Without it PixArt encodes its own.
    settings = {name: value for name, value in model.family.settings().items() if name != "negative_prompt"}
    condition = {"prompt": [text]}
    if model.prior is not None:
        prior = model.prior([text], **model.family.encode_arguments, generator=torch.Generator().manual_seed(0))
        condition = dict(zip(("image_embeds", "negative_image_embeds"), prior, strict=True))
    (images,) = model.pipeline(**condition, **latents, **settings, generator=torch.Generator().manual_seed(0))[:1]
    expected = torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1
    assert torch.equal(model.generate({**noise, **model.encode([text])}).images, expected)


def test_a_batch_equals_single_images(model):
    inputs = pair(model)
    together = model.generate(inputs).images
    alone = torch.cat([model.generate({k: v[i : i + 1] for k, v in inputs.items()}).images for i in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def hooks(model):
    modules = [module for network in model._networks().values() for module in network.modules()]
    methods = ["decode" in vars(module) for module in modules]
    return [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in modules], methods


def test_hooks_are_removed_also_when_a_step_raises(model):
    inputs, held = pair(model), hooks(model)
    before = model.generate(inputs).images
    for edited in (inside(model)[:1], inside(model)):
        with pytest.raises(ValueError, match="returned shape"):
            model.generate(inputs, edits=dict.fromkeys(edited, lambda activations, _step: activations[:1]))
        assert hooks(model) == held
    assert torch.equal(model.generate(inputs).images, before)


def test_unknown_names_and_edits_of_inputs_are_refused(model):
    inputs = pair(model)
    with pytest.raises(ValueError, match="no candidate"):
        model.generate(inputs, record=["nowhere"])
    with pytest.raises(ValueError, match="is an input"):
        model.generate(inputs, edits={next(iter(inputs)): lambda activations, _step: activations})


def test_drawing_is_reproducible_and_the_prompts_own(model):
    # T5 would draw its dropout.
    assert not any(network.training for network in model._networks().values())
    first, second = (model.draw(3, torch.Generator().manual_seed(2)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert list(first) == list(model.candidates)[: len(first)]
    kinds = {model.candidates[name].kind for name in first}
    assert kinds == {Kind.NOISE, Kind.CONDITION}
    assert isinstance(model, Varied)
    o, e = model.draw_varied(3, "content", torch.Generator().manual_seed(2))
    assert all(torch.equal(o[n], e[n]) == (model.candidates[n].kind is Kind.NOISE) for n in o if n != "text.bos")


def test_the_parts_of_a_text_are_the_pipelines_own_text(model):
    prompts = [PROMPTS.texts[0], PROMPTS.texts[-1], "a", ", ".join(PROMPTS.texts)]
    parts = model.encode(prompts)
    if model.segments:
        joined, seen = zip(*(segment.join(parts) for segment in model.segments), strict=True)
        for i, prompt in enumerate(prompts):
            encoded = model._encoded(prompt)
            assert torch.equal(torch.cat(joined, dim=1)[i], encoded[model.family.sequence][0])
            if model.family.mask:
                assert torch.equal(torch.cat(seen, dim=1)[i].bool(), encoded[model.family.mask][0].bool())


def test_words_bring_their_length(sd14):
    model = load(family=family("sd14"), prompts=PROMPTS, **sd14)
    o, e = model.encode(["a"]), model.encode(["a b c"])
    (segment,) = model.segments
    mixed, seen = segment.join({**o, "text.words": e["text.words"]})
    assert seen.sum() == 5
    assert torch.equal(mixed[:, 1:4], e["text.words"][:, :3, :-1])
    assert torch.equal(mixed[:, 4], o["text.eos"])
    assert torch.equal(mixed[:, 5:], o["text.padding"][:, 4:])
    halfway = {name: torch.lerp(o[name], e[name], 0.5) for name in o}
    middle, _seen = segment.join(halfway)
    torch.testing.assert_close(middle[:, 4], (halfway["text.eos"] + halfway["text.padding"][:, 3]) / 2)


def test_guidance_keeps_both_halves_and_the_first_is_of_the_empty_prompt(sd14):
    guided = load(family=family("sd14"), prompts=PROMPTS, **sd14)
    plain = load(family=family("sd14", guidance=1.0), prompts=PROMPTS, **sd14)
    steps, *shape = plain.candidates["h"].shape
    assert guided.candidates["h"].shape == (steps, 2, *shape)
    noise = guided.draw(1, torch.Generator().manual_seed(3))["x_T"]
    empty, cat = ({"x_T": noise, **guided.encode([text])} for text in ("", "a cat"))
    halves = guided.generate(cat, record=["down.0"]).values["down.0"]
    of_empty, of_cat = (plain.generate(inputs, record=["down.0"]).values["down.0"] for inputs in (empty, cat))
    # In later steps guidance has moved x_t.
    torch.testing.assert_close(halves[:, 0], torch.stack([of_empty[:, 0], of_cat[:, 0]], dim=1))
    torch.testing.assert_close(guided.generate(empty).images, plain.generate(empty).images, atol=1e-4, rtol=0)


def test_a_skip_is_not_the_trunk(sd14):
    model = load(family=family("sd14"), prompts=PROMPTS, **sd14)
    inputs = pair(model)
    values = model.generate(inputs, record=["down.3", "skip.11"]).values
    assert torch.equal(values["down.3"], values["skip.11"])
    edited = model.generate(inputs, record=["skip.11"], edits={"down.3": lambda a, _step: a.zero_()}).values["skip.11"]
    assert torch.equal(edited[:, 0], values["skip.11"][:, 0])


def test_a_stochastic_sampler_is_deterministic(sd14):
    stochastic = family("sd14", scheduler="diffusers.DDPMScheduler")
    model = load(family=stochastic, prompts=PROMPTS, **sd14)
    inputs = pair(model)
    together = model.generate(inputs).images
    assert torch.equal(model.generate(inputs).images, together)
    alone = model.generate({name: value[1:] for name, value in inputs.items()}).images
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=0)


def test_slices_give_the_same_and_are_no_candidates_of_their_own(sd14):
    plain, sliced = (load(family=family("sd14"), prompts=PROMPTS, slicing=slicing, **sd14) for slicing in (False, True))
    inputs = pair(plain)
    assert sliced.candidates == plain.candidates
    expected = plain.generate(inputs, record=["vae_latent"])
    found = sliced.generate(inputs, record=["vae_latent"])
    torch.testing.assert_close(found.images, expected.images, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.values["vae_latent"], expected.values["vae_latent"], atol=1e-4, rtol=0)


def test_size_and_own_scheduler(sd14):
    model = load(family=family("sd14", size=64, scheduler=None), prompts=PROMPTS, **sd14)
    assert model.generate(model.draw(1, torch.Generator())).images.shape == (1, 3, 64, 64)
    # PNDM takes one step more.
    assert model.candidates["h"].shape[0] == 3


def test_it_is_measured_and_injected(sd14):
    model = load(family=family("sd14", size=64, guidance=1.0), prompts=PROMPTS, rows=128, **sd14)
    images = torch.rand(24, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def phi(images):
        return torch.nn.functional.normalize(torch.nn.functional.avg_pool2d(images, 16).flatten(1))

    names = ["x_T", "text.words", "h", "vae_latent"]
    measured = measure_model(model, images, phi, n=24, candidates=names, properties=["relevance", "organization"])
    assert set(measured["candidate"]) == set(names)
    of = measured[(measured["estimator"] == "S_T") & measured["headline"]].set_index("candidate")["value"]
    assert of["vae_latent"] > 0.5
    generator = torch.Generator().manual_seed(0)
    _independent, shared = draw_pairs(model, 2, generator)
    injected = inject(model, shared, [Injection(("h",)), Injection(("vae_latent",))], "injection")
    assert torch.equal(injected[:, 3], injected[:, 1])
    assert draw_role_pairs(model, 2, "surface", (), generator).differs == "surface"


def test_prompts_without_roles_vary_in_none(sd14, tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text("prompt\na\nb\n")
    assert not isinstance(load(family=family("sd14"), prompts=Prompts.read(path), **sd14), Varied)
