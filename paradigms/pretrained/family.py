"""What tells one family of pretrained pipelines from another, as data: ``configs/family/*.yaml``."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from datamodules.errors import InputError
from paradigms.contract import Kind
from paradigms.taps import Site, intercept


@dataclass(frozen=True)
class Rule:
    r"""Modules whose activations are latent candidates.

    Attributes:
        name: Name of the candidate, with ``\1`` for what the first group of ``modules`` matched; of skips the
            beginning, since they are numbered in the encoder's order.
        modules: Regular expression of the whole path of a module, from the pipeline's component on.
        argument: See :class:`Site`.
        index: See :class:`Site`.
        skips: Whether every element of the argument is a skip.
        once: See :class:`Site`.
        method: See :class:`Site`.
    """

    name: str
    modules: str
    argument: str | int | None = None
    index: int | None = None
    skips: bool = False
    once: bool = False
    method: str = "forward"

    def site(self, module: nn.Module, index: int | None = None, groups: int = 1) -> Site:
        """Where in ``module`` to look."""
        return Site(module, self.argument, index, groups, self.once, self.method)

    def taken(self, passing: Any) -> Iterator[tuple[int | None, Tensor]]:
        """Positions and tensors of what passes; a stream that a network's last block no longer has is left out."""
        if self.skips:
            yield from enumerate(passing)
        elif self.index is None:
            yield None, passing
        elif passing[self.index] is not None:
            yield self.index, passing[self.index]


@dataclass(frozen=True)
class Tokens:
    """Which tokenizer made a stretch of the text sequence.

    Attributes:
        tokenizer: Name of the pipeline's component.
        length: Tokens of the stretch; the longest that the tokenizer makes by default.
        lower: Whether the pipeline writes prompts small before.
    """

    tokenizer: str
    length: int | None = None
    lower: bool = False


@dataclass(frozen=True)
class Family:
    """A family of pipelines, and the settings of its generations.

    Attributes:
        name: For messages.
        pipeline: Dotted path of the pipeline's class.
        steps: Sampling steps.
        encoded: The call's arguments that the encoding of prompts returns, in order. Those that no candidate stands
            for are constants, made of the empty prompt; ``None`` marks what the call does not take.
        noise: The call's argument by noise candidate, in the order in which the pipeline prepares them.
        rules: The candidates inside by name, each as the other attributes of :class:`Rule`.
        guidance: Classifier-free guidance scale; ``None`` keeps the pipeline's.
        size: Height and width of the images; ``None`` keeps the pipeline's.
        scheduler: Dotted path of the class of the sampler; ``None`` keeps the pipeline's.
        scheduler_options: What to change in the sampler's config.
        components: What to load in another way than the pipeline's files say.
        moved: Modules of ``diffusers.pipelines`` by the name that the pipeline's files still give them.
        prior: Dotted path of the class of the pipeline that encodes prompts, where it is another one.
        encode: Method of the pipeline that encodes prompts.
        encode_arguments: Its arguments beside the prompts.
        packed: The call's arguments that are tuples of encoded ones.
        sequence: The call's argument that is the text sequence.
        mask: The call's argument that tells its padding.
        tokens: The stretches of the text sequence by the beginning of their candidates' names, each as the attributes
            of :class:`Tokens`.
        vectors: The call's argument by candidate, of the condition beside the text sequence.
        spherical: Those vectors that are walked on a great circle.
        step_arguments: The call's arguments that take the number of steps.
        guidance_arguments: The call's arguments that take the guidance scale.
        size_arguments: The call's arguments that take the size.
        arguments: Other arguments of the call.

    Raises:
        InputError: ``steps`` or ``size`` is out of range.
    """

    name: str
    pipeline: str
    steps: int
    encoded: Sequence[str | None]
    noise: Mapping[str, str]
    rules: Mapping[str, Mapping[str, Any]]
    guidance: float | None = None
    size: int | None = None
    scheduler: str | None = None
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    components: Mapping[str, Any] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
    prior: str | None = None
    encode: str = "encode_prompt"
    encode_arguments: Mapping[str, Any] = field(default_factory=dict)
    packed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sequence: str | None = None
    mask: str | None = None
    tokens: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    vectors: Mapping[str, str] = field(default_factory=dict)
    spherical: Sequence[str] = ()
    step_arguments: Sequence[str] = ("num_inference_steps",)
    guidance_arguments: Sequence[str] = ("guidance_scale",)
    size_arguments: Sequence[str] = ("height", "width")
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"family.steps={self.steps}: give at least 1 sampling step")
        if self.size is not None and (self.size < 16 or self.size % 16):
            raise InputError(f"family.size={self.size}: give a multiple of 16 pixels")

    def settings(self) -> dict[str, Any]:
        """The arguments of the pipeline's call that are the same for every image."""
        values = (
            (self.step_arguments, self.steps),
            (self.guidance_arguments, self.guidance),
            (self.size_arguments, self.size),
        )
        given = {name: value for names, value in values for name in names if value is not None}
        return {**self.arguments, **given, "output_type": "np", "return_dict": False}


@dataclass
class Found:
    """A candidate inside a pipeline.

    Attributes:
        name: Of the candidate.
        kind: Of the candidate.
        site: Where it passes.
        shape: Of one image's activation, with the groups leading where there is more than one.
        tokens: Whether it is a sequence of vectors.
        passes: How often it passes in one generation.
    """

    name: str
    kind: Kind
    site: Site
    shape: tuple[int, ...]
    tokens: bool
    passes: int = 1


def discover(components: Mapping[str, nn.Module], rules: Sequence[Rule], generate: Callable[[], Any]) -> list[Found]:
    """Candidates inside a pipeline in the order in which they act, as seen in one generation.

    Args:
        components: Networks of the pipeline by name.
        rules: Which of their modules to look at.
        generate: Generates one image: what leads with more than 1 is then doubled by guidance.
    """
    found: dict[tuple[nn.Module, str, int | None], Found] = {}

    def watch(rule: Rule, name: str, module: nn.Module) -> Callable[[Any], Any]:
        def look(passing: Any) -> Any:
            for index, tensor in rule.taken(passing):
                key = (module, name, index)
                if key in found:
                    found[key].passes += 1
                else:
                    kind = Kind.SKIP if rule.skips else Kind.ACTIVATION
                    site = rule.site(module, index, len(tensor))
                    shape = tuple(tensor.shape[1:] if len(tensor) == 1 else tensor.shape)
                    found[key] = Found(name, kind, site, shape, tensor.ndim == 3)
            return passing

        return look

    with ExitStack() as stack:
        for rule in rules:
            for component, network in components.items():
                for path, module in network.named_modules(prefix=component):
                    if match := re.fullmatch(rule.modules, path):
                        name = match.expand(rule.name)
                        stack.callback(intercept(rule.site(module), watch(rule, name, module)))
        generate()
    return _numbered(list(found.values()))


@contextmanager
def watched_noise(pipeline: Any) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of one image's noise, in the order in which ``pipeline`` prepares it while the body runs."""
    prepare, shapes = pipeline.prepare_latents, []

    def prepared(*args: Any, **kwargs: Any) -> Any:
        latents = prepare(*args, **kwargs)
        noise = latents if isinstance(latents, Tensor) else latents[0]
        shapes.append(tuple(noise.shape[1:]))
        return latents

    pipeline.prepare_latents = prepared
    try:
        yield shapes
    finally:
        # The method of the class is there again.
        del pipeline.prepare_latents


def _numbered(found: list[Found]) -> list[Found]:
    """Skips numbered in the encoder's order: the decoder's last block takes the encoder's first."""
    blocks: dict[nn.Module, list[Found]] = {}
    for one in found:
        if one.kind is Kind.SKIP:
            blocks.setdefault(one.site.module, []).append(one)
    numbers: dict[str, int] = {}
    names: dict[int, str] = {}
    for skips in reversed(blocks.values()):
        for one in skips:
            number = numbers.get(one.name, 0)
            numbers[one.name] = number + 1
            names[id(one)] = f"{one.name}.{number}"
    return [replace(one, name=names.get(id(one), one.name)) for one in found]
