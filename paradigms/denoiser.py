"""A small conditional U-Net, its sampler and its latent candidates.

Sampled by DDIM with η = 0 (Song et al. 2021) from trailing timesteps under a schedule with zero terminal
signal-to-noise ratio (Lin et al. 2024): generation is a deterministic function of the noise x_T and the condition.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, cast

import torch
from diffusers import DDIMScheduler, UNet2DModel
from torch import Tensor, nn

from datamodules.errors import InputError
from paradigms.contract import Edit, Generation, Inputs, Kind, LatentCandidate, Path
from paradigms.taps import Site, intercept, tapped

CONDITIONS_KEPT = 4096
"""Conditions of training images that the model keeps, to draw from when it generates."""

REVERSALS = 8
"""Iterations in which a sampling step is reversed."""

CLEAN = 0.9
"""ᾱ above which what is left of the noise is too little to be told from x_s, and the clean image is instead."""


class NarrowMidBlock(nn.Module):
    """The U-Net's mid block, squeezed to ``channels`` at its output: h-space, the narrowest place of the network.

    Only the two 1×1 convolutions change with the bottleneck, so models of different bottleneck differ in nothing else.
    """

    def __init__(self, mid_block: nn.Module, width: int, channels: int) -> None:
        super().__init__()
        self.mid_block = mid_block
        self.squeeze = nn.Conv2d(width, channels, 1)
        self.expand = nn.Conv2d(channels, width, 1)

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        """(N, width, H, W) through the mid block and the bottleneck, same shape."""
        return cast(Tensor, self.expand(self.squeeze(self.mid_block(hidden_states, temb))))


class Denoiser(nn.Module):
    """The network, its sampler and its latent candidates.

    The network sees an image with a margin of zeros where its levels do not divide the size, and so have its
    activations.

    Candidates: ``x_T``; ``condition``; ``down.i``, the trunk after the i-th encoder block; ``skip.j``, the j-th
    tensor handed to the decoder, in the encoder's order; ``h``; ``up.i``, the output of the i-th decoder block; and
    ``<block>.attn.j``, what the j-th attention of a block adds to the trunk.

    Args:
        image_shape: (C, H, W); H = W.
        condition_width: Length of the encoded condition; 0 makes the model unconditional.
        bottleneck: Number of values of h: its channels × height × width.
        block_out_channels: Channels of each level of the U-Net.
        skips: ``all``, ``none``, or the numbers of the skips to keep; the others carry zeros.
        timesteps: Length of the noise schedule.
        sampler_steps: T, the number of DDIM steps of a generation.
        guidance: Classifier-free guidance scale (Ho & Salimans 2022); 1 is the plain conditional model.

    Raises:
        InputError: ``bottleneck``, ``skips`` or ``sampler_steps`` do not fit the network.
    """

    conditions: Tensor

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        condition_width: int,
        bottleneck: int,
        block_out_channels: Sequence[int],
        skips: Literal["all", "none"] | Sequence[int],
        timesteps: int,
        sampler_steps: int,
        guidance: float,
    ) -> None:
        super().__init__()
        channels, height, _width = image_shape
        levels, top = len(block_out_channels), block_out_channels[-1]
        missing = -height % 2 ** (levels - 1)
        self.margins = (missing // 2, missing - missing // 2)
        if not 1 <= sampler_steps <= timesteps:
            raise InputError(f"paradigm.sampler_steps={sampler_steps}: give 1 to paradigm.timesteps={timesteps}")
        self.image_shape = tuple(image_shape)
        self.condition_width, self.guidance, self.sampler_steps = condition_width, guidance, sampler_steps
        padded = height + missing
        h_size = (padded >> (levels - 1)) ** 2
        if bottleneck < 1 or bottleneck % h_size:
            raise InputError(
                f"bottleneck={bottleneck} must be a positive multiple of {h_size}, the pixels of h of diffusion at "
                f"data.image_size={height}: give bottleneck={h_size * max(1, round(bottleneck / h_size))}"
            )
        self.unet = UNet2DModel(
            sample_size=padded,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=1,
            block_out_channels=tuple(block_out_channels),
            down_block_types=("DownBlock2D",) * (levels - 1) + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
            attention_head_dim=32,
            norm_num_groups=16,
            class_embed_type="identity" if condition_width else None,
        )
        self.unet.mid_block = NarrowMidBlock(self.unet.mid_block, top, bottleneck // h_size)
        if condition_width:
            embedding = 4 * block_out_channels[0]
            self.embed = nn.Sequential(
                nn.Linear(condition_width, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
            )
            self.unconditional = nn.Parameter(torch.zeros(embedding))
        self.register_buffer("conditions", torch.zeros(CONDITIONS_KEPT, condition_width))
        self.scheduler = DDIMScheduler(
            num_train_timesteps=timesteps,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
            clip_sample=True,
        )
        self.scheduler.set_timesteps(sampler_steps)
        self.sites = self._sites(skips)
        with torch.no_grad():
            self.candidates: Mapping[str, LatentCandidate] = self._candidates()

    def _sites(self, skips: Literal["all", "none"] | Sequence[int]) -> dict[str, Site]:
        """Where each candidate passes, in the order of execution; cut skips are zeroed and are no candidates."""
        down, mid, up = list(self.unet.down_blocks), self.unet.mid_block, list(self.unet.up_blocks)
        sites: dict[str, Site] = {}
        for i, following in enumerate([*down[1:], mid]):
            sites |= self._attention(f"down.{i}", down[i])
            sites[f"down.{i}"] = Site(following, "hidden_states", groups=self._groups)
        sites |= self._attention("h", mid.mid_block)
        sites["h"] = Site(mid.squeeze, groups=self._groups)
        total = sum(len(block.resnets) for block in up)
        named: dict[str, Sequence[int]] = {"all": range(total), "none": ()}
        kept = set(named.get(skips, (-1,)) if isinstance(skips, str) else skips)
        if not kept <= set(range(total)):
            raise InputError(f"paradigm.skips={skips} must be all, none or a list of numbers from 0 to {total - 1}")
        last = total
        for i, block in enumerate(up):
            first = last - len(block.resnets)
            for j in range(first, last):
                if j in kept:
                    sites[f"skip.{j}"] = Site(block, "res_hidden_states_tuple", j - first, self._groups)
                else:
                    intercept(Site(block, "res_hidden_states_tuple", j - first), torch.zeros_like)
            sites |= self._attention(f"up.{i}", block)
            sites[f"up.{i}"] = Site(block, groups=self._groups)
            last = first
        return sites

    def _attention(self, name: str, block: nn.Module) -> dict[str, Site]:
        """Outputs of the attentions of a block, before they are added to the trunk."""
        outputs = [attention.to_out[0] for attention in getattr(block, "attentions", ())]
        return {f"{name}.attn.{j}": Site(output, groups=self._groups) for j, output in enumerate(outputs)}

    def _candidates(self) -> dict[str, LatentCandidate]:
        """Declare the candidates; the shapes of activations are read off one pass."""
        candidates = {"x_T": LatentCandidate("x_T", Kind.NOISE, tuple(self.image_shape), Path.SLERP)}
        if self.condition_width:
            shape = (self.condition_width,)
            candidates["condition"] = LatentCandidate("condition", Kind.CONDITION, shape, Path.LERP)
        inputs = self.draw(1, torch.Generator())
        with tapped(self.sites, inputs, record=self.sites, edits=None) as values:
            self._velocity(inputs["x_T"], torch.tensor(0), inputs.get("condition"))
        for name in self.sites:
            shape = (self.sampler_steps, *values[name].shape[1:])
            kind = Kind.SKIP if name.startswith("skip.") else Kind.ACTIVATION
            # Attention sees pixels as a sequence; guidance leads with its halves.
            tokens = values[name].ndim - (self._groups > 1) == 3
            candidates[name] = LatentCandidate(name, kind, shape, Path.LERP, tokens)
        return candidates

    @property
    def _groups(self) -> int:
        """Copies of the batch inside the network: guidance runs it with and without the condition."""
        return 2 if self.condition_width and self.guidance != 1 else 1

    def denoise(self, x_t: Tensor, t: Tensor, condition: Tensor | None, keep: Tensor | None = None) -> Tensor:
        """Predict v.

        Args:
            x_t: Noisy images (N, C, H, W).
            t: Timesteps (N,) or one for all.
            condition: Encoded conditions (N, condition_width), or ``None`` for an unconditional model.
            keep: (N,) bool, where to use the condition; everywhere if ``None``.
        """
        labels = None
        if condition is not None:
            labels = self.embed(condition)
            if keep is not None:
                labels = torch.where(keep[:, None], labels, self.unconditional.to(labels.dtype))
        v = cast(Tensor, self.unet(nn.functional.pad(x_t, self.margins * 2), t, class_labels=labels).sample)
        (before, _after), (height, width) = self.margins, x_t.shape[2:]
        return v[..., before : before + height, before : before + width]

    def _velocity(self, x_t: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """V under guidance: both halves run as one batch, the conditional one first."""
        if condition is None or self._groups == 1:
            return self.denoise(x_t, t, condition)
        keep = torch.arange(2 * len(x_t), device=x_t.device) < len(x_t)
        conditional, unconditional = self.denoise(x_t.repeat(2, 1, 1, 1), t, condition.repeat(2, 1), keep).chunk(2)
        return unconditional + self.guidance * (conditional - unconditional)

    def draw(self, n: int, generator: torch.Generator) -> Inputs:
        """Noise x_T (n, C, H, W) from N(0, I), and conditions (n, condition_width) of training images."""
        device = self.conditions.device
        inputs = {"x_T": torch.randn(n, *self.image_shape, generator=generator).to(device)}
        if self.condition_width:
            chosen = torch.randint(len(self.conditions), (n,), generator=generator)
            inputs["condition"] = self.conditions[chosen.to(device)]
        return inputs

    @torch.no_grad()
    def generate(
        self, inputs: Inputs, *, record: Collection[str] = (), edits: Mapping[str, Edit] | None = None
    ) -> Generation:
        """Run DDIM with η = 0 from ``inputs``; see :class:`paradigms.contract.GenerativeModel`."""
        with tapped(self.sites, inputs, record=record, edits=edits, stepwise=True) as values:
            *_states, images = self._run(inputs, inputs["x_T"], 0)
        return Generation(images.clamp(-1, 1), values)

    @torch.no_grad()
    def project(self, images: Tensor, known: Inputs) -> Inputs:
        """The noise from which the sampler makes ``images`` under the known condition; none known is none given.

        Each step is reversed by fixed-point iteration (Pan et al. 2023): of ``x_s = √ᾱ_s x̂(x_t) + √(1 − ᾱ_s) ε̂(x_t)``
        x_s is given, and ``x_t = √ᾱ_t x̂ + √(1 − ᾱ_t) ε̂`` is sought, with a noise ε̂ no longer than is drawn: what the
        model cannot make of an image would else make it grow without bound. Nearly any noise leads to much the same
        image of a condition that says all, so it is one of many that would do.

        Args:
            images: (N, C, H, W) in [-1, 1].
            known: ``condition``, (N, condition_width), or nothing.

        Raises:
            InputError: The sampler has a single step, which keeps nothing of the image.
        """
        if self.sampler_steps == 1:
            raise InputError("paradigm.sampler_steps=1: one step tells nothing of the noise that it came from")
        cumulative, stride = self.scheduler.alphas_cumprod, self.scheduler.config.num_train_timesteps
        stride //= self.sampler_steps
        given = images
        # Three standard deviations above the root mean square of drawn noise, which is 1.
        longest = 1 + 3 / math.sqrt(2 * images[0].numel())
        for t in self.scheduler.timesteps.flip(0):
            alpha = cumulative[t]
            alpha_s = cumulative[t - stride] if t >= stride else self.scheduler.final_alpha_cumprod
            x_t = given
            for _ in range(REVERSALS):
                v = self._velocity(x_t, t.to(x_t.device), known.get("condition")).float()
                clean, noise = alpha.sqrt() * x_t - (1 - alpha).sqrt() * v, alpha.sqrt() * v + (1 - alpha).sqrt() * x_t
                if alpha_s <= CLEAN:
                    noise = (given - alpha_s.sqrt() * clean.clamp(-1, 1)) / (1 - alpha_s).sqrt()
                length = noise.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
                noise = noise * (longest / length).clamp_max(1)
                if alpha_s > CLEAN:
                    clean = (given - (1 - alpha_s).sqrt() * noise) / alpha_s.sqrt()
                x_t = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
            given = x_t
        return {**known, "x_T": given}

    @torch.no_grad()
    def states(self, inputs: Inputs) -> Tensor:
        """x_t before each step, (N, T, C, H, W); see :class:`paradigms.contract.Resumable`."""
        *states, _images = self._run(inputs, inputs["x_T"], 0)
        return torch.stack(states, dim=1)

    @torch.no_grad()
    def resume(
        self, inputs: Inputs, state: Tensor, step: int, *, edits: Mapping[str, Edit] | None = None
    ) -> Generation:
        """Go on from x_t (N, C, H, W) before ``step``; see :class:`paradigms.contract.Resumable`."""
        with tapped(self.sites, inputs, record=(), edits=edits, first_step=step):
            *_states, images = self._run(inputs, state, step)
        return Generation(images.clamp(-1, 1))

    def _run(self, inputs: Inputs, x_t: Tensor, first_step: int) -> Iterator[Tensor]:
        """x_t before each step from ``first_step`` on, and after the last."""
        for t in self.scheduler.timesteps[first_step:]:
            yield x_t
            v = self._velocity(x_t, t.to(x_t.device), inputs.get("condition"))
            x_t = self.scheduler.step(v.float(), t, x_t).prev_sample
        yield x_t
