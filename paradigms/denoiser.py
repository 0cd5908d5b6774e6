"""A small U-Net that denoises under a condition, its sampler and its latent candidates.

Sampled by DDIM with η = 0 (Song et al. 2021) from trailing timesteps under a schedule with zero terminal
signal-to-noise ratio (Lin et al. 2024): generation is a deterministic function of the noise x_T and the condition.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Literal, cast

import torch
from diffusers import DDIMScheduler, UNet2DModel
from torch import Tensor, nn

from datamodules.errors import InputError
from paradigms.contract import Edit, Generation, Inputs, Kind, LatentCandidate, Path
from paradigms.ranks import normal, ranks, share, uniform
from paradigms.taps import Site, intercept, tapped

REVERSALS = 8
"""Iterations in which a sampling step is reversed."""

CLEAN = 0.9
"""ᾱ above which what is left of the noise is too little to be told from x_s, and the clean image is instead."""

Into = Literal["all", "encoder", "bottleneck"]
"""Blocks of the U-Net that are told the condition: all, those down to the bottleneck, or the mid block alone."""

Skips = Literal["all", "none"] | Sequence[int]
"""Skip connections that are kept: all, none, or those of these numbers."""


class MidBlock(nn.Module):
    """The U-Net's mid block, whose output is h-space, the narrowest place of the network.

    Only the two 1×1 convolutions change with the bottleneck, so models of different bottleneck differ in nothing else.

    Args:
        mid_block: Of ``width`` channels.
        width: Of the network there.
        channels: To which the output is squeezed; ``None`` leaves it as wide as it is.
    """

    def __init__(self, mid_block: nn.Module, width: int, channels: int | None) -> None:
        super().__init__()
        self.mid_block = mid_block
        self.squeeze = nn.Identity() if channels is None else nn.Conv2d(width, channels, 1)
        self.expand = nn.Identity() if channels is None else nn.Conv2d(channels, width, 1)

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        """(N, width, H, W) through the mid block and the bottleneck, same shape."""
        return cast(Tensor, self.expand(self.squeeze(self.mid_block(hidden_states, temb))))


class Denoiser(nn.Module):
    """The network, its sampler and its latent candidates.

    The network sees an image with a margin of zeros where its levels do not divide the size, and so have its
    activations.

    Candidates: ``x_T``; the condition; ``down.i``, the trunk after the i-th encoder block; ``skip.j``, the j-th
    tensor handed to the decoder, in the encoder's order; ``h``; ``up.i``, the output of the i-th decoder block; and
    ``<block>.attn.j``, what the j-th attention of a block adds to the trunk.

    Args:
        image_shape: (C, H, W); H = W.
        condition: The vector that is told beside the timestep, an input; ``None`` makes the model unconditional.
        condition_into: Blocks that are told: ``all``; ``encoder``, the down blocks; ``bottleneck``, the mid block.
        bottleneck: Number of values of h: its channels × height × width; ``None`` leaves h as wide as the network.
        block_out_channels: Channels of each level of the U-Net.
        skips: ``all``, ``none``, or the numbers of the skips to keep; the others carry zeros.
        timesteps: Length of the noise schedule.
        sampler_steps: T, the number of DDIM steps of a generation.
        groups: Copies of the batch inside the network, stacked in the first dimension.

    Raises:
        InputError: ``bottleneck``, ``skips`` or ``sampler_steps`` do not fit the network, or there is no condition of
            which blocks could be told.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        condition: LatentCandidate | None,
        condition_into: Into,
        bottleneck: int | None,
        block_out_channels: Sequence[int],
        skips: Skips,
        timesteps: int,
        sampler_steps: int,
        groups: int = 1,
    ) -> None:
        super().__init__()
        channels, height, _width = image_shape
        levels, top = len(block_out_channels), block_out_channels[-1]
        missing = -height % 2 ** (levels - 1)
        self.margins = (missing // 2, missing - missing // 2)
        if not 1 <= sampler_steps <= timesteps:
            raise InputError(f"paradigm.sampler_steps={sampler_steps}: give 1 to paradigm.timesteps={timesteps}")
        if condition is None and condition_into != "all":
            raise InputError(
                f"paradigm.condition_into={condition_into}: with paradigm.condition=none there is nothing to tell: "
                "leave it at all"
            )
        self.image_shape = tuple(image_shape)
        self.condition, self.sampler_steps, self.groups = condition, sampler_steps, groups
        padded = height + missing
        h_size = (padded >> (levels - 1)) ** 2
        if bottleneck is not None and (bottleneck < 1 or bottleneck % h_size):
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
            class_embed_type="identity" if condition else None,
        )
        squeezed = None if bottleneck is None else bottleneck // h_size
        self.unet.mid_block = MidBlock(self.unet.mid_block, top, squeezed)
        if condition:
            self.embedding = 4 * block_out_channels[0]
            self.embed = nn.Sequential(
                nn.Linear(condition.shape[0], self.embedding), nn.SiLU(), nn.Linear(self.embedding, self.embedding)
            )
        down, mid, up = list(self.unet.down_blocks), self.unet.mid_block, list(self.unet.up_blocks)
        # Blocks that have the embedding of the timestep alone.
        self.untold = {"all": [], "encoder": [mid, *up], "bottleneck": [*down, *up]}[condition_into]
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

    def _sites(self, skips: Skips) -> dict[str, Site]:
        """Where each candidate passes, in the order of execution; cut skips are zeroed and are no candidates."""
        down, mid, up = list(self.unet.down_blocks), self.unet.mid_block, list(self.unet.up_blocks)
        sites: dict[str, Site] = {}
        for i, following in enumerate([*down[1:], mid]):
            sites |= self._attention(f"down.{i}", down[i])
            sites[f"down.{i}"] = Site(following, "hidden_states", groups=self.groups)
        sites |= self._attention("h", mid.mid_block)
        sites["h"] = Site(mid.squeeze, groups=self.groups)
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
                    sites[f"skip.{j}"] = Site(block, "res_hidden_states_tuple", j - first, self.groups)
                else:
                    intercept(Site(block, "res_hidden_states_tuple", j - first), torch.zeros_like)
            sites |= self._attention(f"up.{i}", block)
            sites[f"up.{i}"] = Site(block, groups=self.groups)
            last = first
        return sites

    def _attention(self, name: str, block: nn.Module) -> dict[str, Site]:
        """Outputs of the attentions of a block, before they are added to the trunk."""
        outputs = [attention.to_out[0] for attention in getattr(block, "attentions", ())]
        return {f"{name}.attn.{j}": Site(output, groups=self.groups) for j, output in enumerate(outputs)}

    def _candidates(self) -> dict[str, LatentCandidate]:
        """Declare the candidates; the shapes of activations are read off one pass."""
        noise = LatentCandidate("x_T", Kind.NOISE, tuple(self.image_shape), Path.SLERP)
        inputs = {given.name: given for given in (noise, self.condition) if given}
        candidates = dict(inputs)
        one = {name: torch.zeros(self.groups, *given.shape) for name, given in inputs.items()}
        with tapped(self.sites, one, record=self.sites, edits=None) as values:
            self.denoise(one["x_T"], torch.tensor(0), self._condition_of(one))
        for name in self.sites:
            shape = (self.sampler_steps, *values[name].shape[1:])
            kind = Kind.SKIP if name.startswith("skip.") else Kind.ACTIVATION
            # Attention sees pixels as a sequence; guidance leads with its halves.
            tokens = values[name].ndim - (self.groups > 1) == 3
            candidates[name] = LatentCandidate(name, kind, shape, Path.LERP, tokens)
        return candidates

    def _condition_of(self, inputs: Inputs) -> Tensor | None:
        """What is told, of all that a generation starts from."""
        return inputs.get(self.condition.name) if self.condition else None

    def denoise(self, x_t: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """Predict v.

        Args:
            x_t: Noisy images (N, C, H, W).
            t: Timesteps (N,) or one for all.
            condition: (N, D), or ``None`` for an unconditional model.
        """
        return self.told(x_t, t, None if condition is None else self.embed(condition))

    def told(self, x_t: Tensor, t: Tensor, embedding: Tensor | None) -> Tensor:
        """Predict v where the embedding (N, E) of the condition is added to that of the timestep."""
        alone: list[Tensor] = []

        def keep(of_time: Tensor) -> Tensor:
            alone.append(of_time)
            return of_time

        with ExitStack() as stack:
            if self.untold:
                stack.callback(intercept(Site(self.unet.time_embedding), keep))
            for block in self.untold:
                stack.callback(intercept(Site(block, "temb"), lambda _both: alone[0]))
            v = cast(Tensor, self.unet(nn.functional.pad(x_t, self.margins * 2), t, class_labels=embedding).sample)
        (before, _after), (height, width) = self.margins, x_t.shape[2:]
        return v[..., before : before + height, before : before + width]

    def _velocity(self, x_t: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """V, as the sampler takes it."""
        return self.denoise(x_t, t, condition)

    def noised(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy images x_t (N, C, H, W) at timesteps t (N,) spread evenly over the schedule, and the v to predict."""
        n, device = len(images), images.device
        # One timestep per equal slice of the schedule: the loss of a batch varies less than with independent ones.
        spread = (share(torch.arange(ranks() * n, device=device)) + uniform(n, device)) / (ranks() * n)
        steps = self.scheduler.config.num_train_timesteps
        # In float32 the last slice can round up to 1.
        t = (spread * steps).long().clamp_(max=steps - 1)
        noise = normal(*images.shape, device=device)
        return self.scheduler.add_noise(images, noise, t), t, self.scheduler.get_velocity(images, noise, t)

    def draw(self, n: int, generator: torch.Generator) -> Inputs:
        """Noise x_T (n, C, H, W) from N(0, I)."""
        return {"x_T": torch.randn(n, *self.image_shape, generator=generator).to(self.unet.device)}

    @torch.no_grad()
    def generate(
        self, inputs: Inputs, *, record: Collection[str] = (), edits: Mapping[str, Edit] | None = None
    ) -> Generation:
        """Run DDIM with η = 0 from ``inputs``; see :class:`paradigms.contract.GenerativeModel`."""
        with tapped(self.sites, inputs, record=record, edits=edits, stepwise=True) as values:
            *_states, images = self._run(inputs, inputs["x_T"], 0)
        return Generation(images.clamp(-1, 1), values)

    @torch.no_grad()
    def noise_of(self, images: Tensor, condition: Tensor | None) -> Tensor:
        """The noise x_T from which the sampler makes ``images`` under a condition.

        Each step is reversed by fixed-point iteration (Pan et al. 2023): of ``x_s = √ᾱ_s x̂(x_t) + √(1 − ᾱ_s) ε̂(x_t)``
        x_s is given, and ``x_t = √ᾱ_t x̂ + √(1 − ᾱ_t) ε̂`` is sought, with a noise ε̂ no longer than is drawn: what the
        model cannot make of an image would else make it grow without bound. Nearly any noise leads to much the same
        image of a condition that says all, so it is one of many that would do.

        Args:
            images: (N, C, H, W) in [-1, 1].
            condition: (N, D), or ``None`` for an unconditional model.

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
                v = self._velocity(x_t, t.to(x_t.device), condition).float()
                clean, noise = alpha.sqrt() * x_t - (1 - alpha).sqrt() * v, alpha.sqrt() * v + (1 - alpha).sqrt() * x_t
                if alpha_s <= CLEAN:
                    noise = (given - alpha_s.sqrt() * clean.clamp(-1, 1)) / (1 - alpha_s).sqrt()
                length = noise.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
                noise = noise * (longest / length).clamp_max(1)
                if alpha_s > CLEAN:
                    clean = (given - (1 - alpha_s).sqrt() * noise) / alpha_s.sqrt()
                x_t = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
            given = x_t
        return given

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
            v = self._velocity(x_t, t.to(x_t.device), self._condition_of(inputs))
            x_t = self.scheduler.step(v.float(), t, x_t).prev_sample
        yield x_t
