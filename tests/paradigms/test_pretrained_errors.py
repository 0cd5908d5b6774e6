"""What is wrong with a pretrained pipeline is one line that names the remedy."""

import shutil

import pytest

pytest.importorskip("transformers")

from tiny_families import PROMPTS, family
from tiny_pipelines import save

from datamodules.errors import InputError
from paradigms.pretrained.family import Family
from paradigms.pretrained.pipeline import _variants, load


@pytest.fixture(scope="module")
def sd14(tmp_path_factory):
    return save("sd14", tmp_path_factory.mktemp("sd14"))


def test_a_pipeline_that_is_missing_or_another_is_named(sd14, tmp_path):
    with pytest.raises(InputError, match=r"cannot be loaded: give .* of a StableDiffusionPipeline.*download=true"):
        load(model=str(tmp_path / "nothing"), family=family("sd14"), prompts=PROMPTS)
    with pytest.raises(InputError, match="is a StableDiffusionPipeline: choose its family"):
        load(**sd14, family=family("sd14", pipeline="diffusers.StableDiffusionXLPipeline"), prompts=PROMPTS)
    shutil.copytree(sd14["model"], tmp_path / "partly", ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(InputError, match="no vocabulary for its tokenizer"):
        load(model=str(tmp_path / "partly"), family=family("sd14"), prompts=PROMPTS)
    half = tmp_path / "half"
    shutil.copytree(sd14["model"], half)
    for file in half.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    with pytest.raises(InputError, match="has weights of the variant fp16: give variant=fp16"):
        load(model=str(half), family=family("sd14"), prompts=PROMPTS)
    assert _variants(str(half)) == ["fp16"]
    for name in ("model-v1.5.safetensors", "model.bf16-00001-of-00002.safetensors"):
        (half / name).touch()
    assert _variants(str(half)) == ["bf16", "fp16"]
    single = tmp_path / "single.safetensors"
    single.touch()
    with pytest.raises(InputError, match=r"single file.*from_single_file"):
        load(model=str(single), family=family("sd14"), prompts=PROMPTS)
    with pytest.raises(InputError, match="needs a second pipeline"):
        load(**sd14, family=family("kandinsky22"), prompts=PROMPTS)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"offload": "model"}, "offload=model"),
        ({"dtype": "float17"}, "dtype=float17"),
        ({"variant": "fp16"}, "cannot be loaded"),
        ({"scheduler": "diffusers.Nothing"}, r"family.scheduler=diffusers.Nothing"),
        ({"steps": 0}, r"family.steps=0"),
        ({"size": 65}, r"family.size=65"),
    ],
)
def test_settings_out_of_range_are_named(sd14, settings, said):
    own = {name: value for name, value in settings.items() if name in Family.__dataclass_fields__}
    others = {name: value for name, value in settings.items() if name not in own}
    with pytest.raises(InputError, match=said):
        load(**sd14, family=family("sd14", **own), prompts=PROMPTS, **others)
