"""Prompts of a CSV, of templates, and pairs of them that differ in one role."""

import pytest
import torch

from datamodules.errors import InputError
from paradigms.pretrained.prompts import OBJECTS, STYLES, Prompts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text\na\nb\n", "no column prompt, only text"),
        ('prompt\na\n""\n', "prompt 2 is empty"),
        ("prompt\na\na\n", "at least 2 different"),
        ("prompt,content\na,a\nb,b\n", "without structure, surface"),
        ("prompt,structure,content,surface\na,p,a,x\nb,q,b,y\n", "differ in structure alone"),
        (None, "does not exist"),
        (b"prompt\n\xff\n", "is not UTF-8"),
    ],
)
def test_prompts_that_cannot_be_used_are_named(tmp_path, text, said):
    path = tmp_path / "prompts.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=said) as raised:
        Prompts.read(path)
    assert str(path) in str(raised.value)


def test_prompts_are_read(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text(
        "prompt,structure,content,surface,note\na big cat,big,cat,,x\na cat,,cat,,y\na red cat,,cat,red,z\n"
        "a dog,,dog,,\n"
    )
    prompts = Prompts.read(path)
    assert prompts.texts == ["a big cat", "a cat", "a red cat", "a dog"]
    assert prompts.partners("surface") == [[], [2], [1], []]
    for role, partner in (("structure", "a big cat"), ("content", "a dog"), ("surface", "a red cat")):
        o, e = prompts.draw_varied(8, role, torch.Generator().manual_seed(0))
        assert {frozenset(both) for both in zip(o, e, strict=True)} == {frozenset({"a cat", partner})}


def test_templates_differ_in_one_role():
    prompts = Prompts.combined()
    assert len(set(prompts.texts)) == len(prompts.texts)
    o, e = prompts.draw_varied(16, "content", torch.Generator().manual_seed(0))
    for first, second in zip(o, e, strict=True):
        before, after = (next(thing for thing in OBJECTS if thing in text) for text in (first, second))
        assert before != after
        assert first.replace(before, after) == second
    o, e = prompts.draw_varied(16, "surface", torch.Generator().manual_seed(0))
    assert all(a.split(" of ", 1)[1] == b.split(" of ", 1)[1] for a, b in zip(o, e, strict=True))
    assert all(text.startswith(STYLES) for text in o + e)


def test_drawing_is_reproducible():
    prompts = Prompts(["a", "b", "c"])
    first, second = (prompts.draw(20, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first == second
    assert set(first) == {"a", "b", "c"}
