"""Pretrained text-to-image pipelines of ``diffusers`` as models that can be analysed.

What tells the families apart is data, see :class:`paradigms.pretrained.family.Family`; here the pipeline's own call
generates.
"""

import importlib.util
import pathlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import diffusers
import torch
from diffusers.models.autoencoders.vae import AutoencoderMixin
from hydra.utils import get_object
from torch import Tensor, nn

from datamodules.errors import InputError
from paradigms.contract import Edit, Generation, Inputs, Kind, LatentCandidate, Path
from paradigms.pretrained.family import Family, Rule, Tokens, discover, watched_noise
from paradigms.pretrained.prompts import Prompts
from paradigms.pretrained.text import Segment, check_tokenizers
from paradigms.taps import Site, tapped

SEED = 0
"""Of the noise that a stochastic sampler adds in its steps: the same for every image, and so part of the model."""

ROWS = 8
"""Images of one batched generation that a large graphics card holds, by default."""

DTYPES = ("float32", "float16", "bfloat16")


class Pretrained:
    """A pipeline that meets the contract.

    Inputs are the noise, the parts of the text sequence (:class:`paradigms.pretrained.text.Segment`), and the vectors
    of the condition. Inside lie the blocks' outputs, the skips, what attention adds, and ``vae_latent``, what the
    decoder of the autoencoder gets. Under guidance the unconditional half, first in a value, is of the empty prompt.

    Args:
        pipeline: A ``diffusers`` pipeline.
        family: What is special about it.
        prompts: To draw from.
        prior: The pipeline that encodes prompts, where the family has one.
        rows: Most images of one batched generation.

    Attributes:
        candidates: See :class:`paradigms.contract.GenerativeModel`.
        prompts: To draw from.
    """

    def __init__(self, pipeline: Any, family: Family, prompts: Prompts, prior: Any = None, rows: int = ROWS) -> None:
        self.rows = rows
        self.pipeline, self.family, self.prompts, self.prior = pipeline, family, prompts, prior
        for network in self._networks().values():
            # Dropout in a text encoder would make the text random.
            network.eval()
        for pipe in filter(None, (pipeline, prior)):
            pipe.set_progress_bar_config(disable=True)
        empty = self._encoded("")
        replaced = {family.sequence, family.mask, *family.vectors.values()}
        self.constants = {name: value for name, value in empty.items() if name not in replaced}
        self.segments = self._segments(empty)
        self.noise_shapes: dict[str, tuple[int, ...]] = {}
        self.sites: dict[str, Site] = {}
        self.candidates: Mapping[str, LatentCandidate] = self._discover()

    def _networks(self) -> dict[str, nn.Module]:
        """The networks of the pipelines by their names."""
        pipes = {"": self.pipeline, "prior_": self.prior}
        return {
            prefix + name: component
            for prefix, pipe in pipes.items()
            if pipe is not None
            for name, component in pipe.components.items()
            if isinstance(component, nn.Module)
        }

    def _segments(self, empty: Mapping[str, Tensor]) -> list[Segment]:
        """The stretches of the text sequence."""
        segments, start = [], 0
        for name, settings in self.family.tokens.items():
            tokens = Tokens(**settings)
            tokenizer = getattr(self.pipeline, tokens.tokenizer)
            span = slice(start, start + (tokens.length or tokenizer.model_max_length))
            segments.append(Segment(name, tokenizer, span, empty[str(self.family.sequence)][0], lower=tokens.lower))
            start = span.stop
        return segments

    @torch.no_grad()
    def _encoded(self, prompt: str) -> dict[str, Tensor]:
        """What the pipeline makes of a prompt, (1, …) by the call's argument."""
        arguments = {"prompt": [prompt], **self.family.encode_arguments}
        if self.prior is None:
            arguments["device"] = self.pipeline._execution_device
            returned = getattr(self.pipeline, self.family.encode)(**arguments)
        else:
            returned = self.prior(**arguments, generator=self._generators(1))
        return {name: value for name, value in zip(self.family.encoded, returned, strict=True) if name is not None}

    @staticmethod
    def _generators(n: int) -> list[torch.Generator]:
        """One per row, so that an image does not depend on the batch it is in."""
        return [torch.Generator().manual_seed(SEED) for _ in range(n)]

    def encode(self, prompts: Sequence[str]) -> Inputs:
        """The condition of ``prompts``: every input but the noise, (N, …) each."""
        # One by one: a text's embedding must not depend on the texts beside it.
        texts = {prompt: self._encoded(prompt) for prompt in dict.fromkeys(prompts)}
        encoded = {name: torch.cat([texts[prompt][name] for prompt in prompts]) for name in texts[prompts[0]]}
        inputs: dict[str, Tensor] = {}
        for segment in self.segments:
            inputs |= segment.split(prompts, encoded[str(self.family.sequence)])
        return {**inputs, **{name: encoded[argument] for name, argument in self.family.vectors.items()}}

    def _discover(self) -> dict[str, LatentCandidate]:
        """Declare the candidates; what they are and their order is read off one generation."""
        condition = self.encode([self.prompts.texts[0]])
        rules = [Rule(name, **settings) for name, settings in self.family.rules.items()]
        with watched_noise(self.pipeline) as shapes:
            found = discover(self._networks(), rules, lambda: self._images(condition))
        self.noise_shapes |= zip(self.family.noise, shapes, strict=True)
        candidates = [LatentCandidate(name, Kind.NOISE, s, Path.SLERP) for name, s in self.noise_shapes.items()]
        for name, value in condition.items():
            path = Path.SLERP if name in self.family.spherical else Path.LERP
            candidates.append(LatentCandidate(name, Kind.CONDITION, tuple(value.shape[1:]), path, value.ndim == 3))
        for one in found:
            self.sites[one.name] = one.site
            shape = one.shape if one.site.once else (one.passes, *one.shape)
            candidates.append(LatentCandidate(one.name, one.kind, shape, Path.LERP, one.tokens))
        return {candidate.name: candidate for candidate in candidates}

    @torch.no_grad()
    def _images(self, inputs: Inputs) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] by the pipeline's call; without noise in ``inputs`` it draws its own."""
        family, n = self.family, len(next(iter(inputs.values())))
        named = {**family.noise, **family.vectors}
        arguments: dict[str, Any] = {named[name]: value for name, value in inputs.items() if name in named}
        if self.segments:
            sequences, masks = zip(*(segment.join(inputs) for segment in self.segments), strict=True)
            arguments[str(family.sequence)] = torch.cat(sequences, dim=1)
            if family.mask is not None:
                arguments[family.mask] = torch.cat(masks, dim=1)
        arguments |= {name: value.expand(n, *value.shape[1:]) for name, value in self.constants.items()}
        for name, members in family.packed.items():
            arguments[name] = tuple(arguments.pop(member) for member in members)
        images, *_more = self.pipeline(**arguments, **family.settings(), generator=self._generators(n))
        return torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1

    def _noise(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        device, dtype = self.pipeline._execution_device, self.pipeline.dtype
        shapes = self.noise_shapes.items()
        return {name: torch.randn(n, *shape, generator=generator).to(device, dtype) for name, shape in shapes}

    def draw(self, n: int, generator: torch.Generator) -> Inputs:
        """Noise from N(0, I), and the condition of prompts drawn with replacement."""
        return {**self._noise(n, generator), **self.encode(self.prompts.draw(n, generator))}

    def generate(
        self, inputs: Inputs, *, record: Collection[str] = (), edits: Mapping[str, Edit] | None = None
    ) -> Generation:
        """Run the pipeline from ``inputs``; see :class:`paradigms.contract.GenerativeModel`."""
        with tapped(self.sites, inputs, record=record, edits=edits, stepwise=True) as values:
            images = self._images(inputs)
        return Generation(images, values)

    def memory(self, images: int, record: Collection[str] = ()) -> str:
        """One line on the memory that the weights take and, in one batch of ``images``, the recorded values."""
        parameters = [p for network in self._networks().values() for p in network.parameters()]
        weights = sum(p.numel() * p.element_size() for p in parameters)
        values = sum(torch.Size(self.candidates[name].shape).numel() for name in record) * self.pipeline.dtype.itemsize
        kept = f", {values * images / 1e9:.2f} GB of recorded values of {images} images" if record else ""
        return (
            f"{self.family.name}: {len(self.candidates)} latent candidates, weights {weights / 1e9:.2f} GB{kept}, "
            f"batches of at most {min(images, self.rows)} images of {self.pipeline.dtype}"
        )


class VariedPretrained(Pretrained):
    """A pipeline whose prompts tell what they say in each role; see :class:`paradigms.contract.Varied`."""

    def draw_varied(self, n: int, role: str, generator: torch.Generator) -> tuple[Inputs, Inputs]:
        """Inputs of ``n`` originals and of ``n`` edits whose prompts differ from theirs in ``role`` alone."""
        noise = self._noise(n, generator)
        o, e = self.prompts.draw_varied(n, role, generator)
        return {**noise, **self.encode(o)}, {**noise, **self.encode(e)}


def load(
    model: str,
    family: Family,
    prompts: Prompts,
    *,
    prior: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    variant: str | None = None,
    offload: Literal["none", "model", "sequential"] = "none",
    slicing: bool = False,
    download: bool = False,
    rows: int = ROWS,
) -> Pretrained:
    """A pretrained pipeline.

    Args:
        model: Directory of a saved pipeline, or its name on the Hugging Face hub.
        family: What it is, with the settings of its generations.
        prompts: To draw from.
        prior: The same as ``model`` of the pipeline that encodes prompts, where the family has one.
        device: Where it works.
        dtype: Of its weights.
        variant: Of the files of weights, as ``fp16``.
        offload: Whether models, or their layers, wait on the CPU until they are needed.
        slicing: Whether attention goes head by head and decoding image by image: slower, in less memory.
        download: Whether to fetch from the hub what is not on this machine.
        rows: Most images of one batched generation, at least 3.

    Raises:
        InputError: A package or a file is missing, ``model`` is not of this family, or an argument does not fit.
    """
    if importlib.util.find_spec("transformers") is None:
        raise InputError("model: pretrained pipelines need more packages: pip install -e '.[pretrained]'")
    if rows < 3:
        raise InputError(f"rows={rows}: give at least 3, since O, E and what is injected share a batch")
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype} must be one of {', '.join(DTYPES)}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device={device}: this machine has no GPU that PyTorch can use: give device=cpu")
    if offload != "none" and device == "cpu":
        raise InputError(f"offload={offload} moves models between the CPU and a GPU: give device=cuda, or offload=none")
    if family.prior is not None and prior is None:
        raise InputError(f"family={family.name} needs a second pipeline: give prior, that of {family.prior}")
    for name, module in family.moved.items():
        setattr(diffusers.pipelines, name, importlib.import_module(module))

    def loaded(path: str, pipeline: str, components: Mapping[str, Any]) -> Any:
        pipe = _from_files(path, pipeline, components, dtype, variant, download)
        if pipeline == family.pipeline and family.scheduler is not None:
            config = {**pipe.scheduler.config, **family.scheduler_options}
            pipe.scheduler = _class(family.scheduler, "family.scheduler").from_config(config)
        if slicing:
            pipe.enable_attention_slicing(1)
            for component in pipe.components.values():
                if isinstance(component, AutoencoderMixin):
                    component.enable_slicing()
        if offload == "none":
            pipe.to(device)
        elif offload == "model":
            pipe.enable_model_cpu_offload(device=device)
        else:
            pipe.enable_sequential_cpu_offload(device=device)
        return pipe

    pipeline = loaded(model, family.pipeline, family.components)
    encoder = None if family.prior is None else loaded(str(prior), family.prior, {})
    return (VariedPretrained if prompts.roles else Pretrained)(pipeline, family, prompts, encoder, rows)


def _class(path: str, field: str) -> Any:
    """The class with the dotted ``path`` that ``field`` gives."""
    try:
        return get_object(path)
    except ImportError as error:
        raise InputError(f"{field}={path} does not exist: give the dotted path of a class of diffusers") from error


def _from_files(
    path: str, pipeline: str, components: Mapping[str, Any], dtype: str, variant: str | None, download: bool
) -> Any:
    """A pipeline of class ``pipeline`` from a directory or the hub."""
    kind = _class(pipeline, "family.pipeline")
    remedy = f"give the directory or the name on the hub of a {kind.__name__}"
    if pathlib.Path(path).is_file():
        raise InputError(
            f"model={path} is a single file, which tells nothing of the rest of a pipeline: where there is a network, "
            f"make a directory of it with diffusers.{kind.__name__}.from_single_file({path!r}).save_pretrained(…), "
            "and give that"
        )
    try:
        found = kind.load_config(path, local_files_only=not download)["_class_name"]
        settings = {"dtype": getattr(torch, dtype), "variant": variant, "local_files_only": not download}
        # Not before its class is known to be right: it may take minutes.
        pipe = kind.from_pretrained(path, **settings, **components) if found == kind.__name__ else None
    except (OSError, ValueError) as error:
        if "no file named" in str(error) and (there := _variants(path)):
            raise InputError(
                f"model={path} has weights of the variant {' and '.join(there)}: give variant={there[0]}"
            ) from error
        fetch = "" if download else "; what is not on this machine is fetched with download=true"
        raise InputError(f"model={path} cannot be loaded: {remedy}{fetch}: {error}") from error
    if pipe is None:
        raise InputError(f"model={path} is a {found}: choose its family, or {remedy}")
    check_tokenizers(pipe, path)
    return pipe


def _variants(path: str) -> list[str]:
    """The variants of the files of weights under a directory, as ``fp16`` of ``model.fp16.safetensors``."""
    weights = (file for file in pathlib.Path(path).rglob("*") if file.suffix in (".safetensors", ".bin"))
    # Of large models it may be model.fp16-00001-of-00002.safetensors; the 5 of model-v1.5 is none.
    found = (re.search(r"\.([A-Za-z]\w*)(-\d+-of-\d+)?$", file.stem) for file in weights)
    return sorted({name[1] for name in found if name})
