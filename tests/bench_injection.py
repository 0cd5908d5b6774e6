"""Injection beside running each layer on its own, on the U-Net of the comparison, untrained; in one run."""

import importlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from analysis.experiment.injection import Injection, inject
from analysis.experiment.pairs import Pairs, draw_pairs
from datamodules.memory import keep_freed_memory
from paradigms.contract import GenerativeModel
from paradigms.denoiser import Denoiser
from paradigms.pretrained.pipeline import load
from paradigms.pretrained.prompts import Prompts
from paradigms.taps import intercept
from paradigms.train import CONFIGS

ROUNDS = 5


def unet() -> Denoiser:
    """The default U-Net at 32×32."""
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        config = compose("train", ["paradigm=diffusion"]).paradigm
    config.image_shape, config.condition_width = [3, 32, 32], 14
    torch.manual_seed(0)
    model: Denoiser = instantiate(config, _convert_="all").model
    return model


def tiny_stable_diffusion(folder: Path) -> GenerativeModel:
    """Stable Diffusion 1.4 with all its 59 places, tiny and untrained, at 64 × 64."""
    sys.path.insert(0, str(Path(__file__).resolve().parent / "paradigms"))
    tiny = importlib.import_module("tiny_pipelines")
    family = instantiate(OmegaConf.load(Path(CONFIGS) / "family" / "sd14.yaml"), steps=2, _convert_="all")
    model: GenerativeModel = load(family=family, prompts=Prompts.combined(), rows=64, **tiny.save("sd14", folder))
    return model


def layers(model: GenerativeModel, pairs: Pairs) -> list[str]:
    """What lies inside."""
    return [name for name in model.candidates if name not in pairs.o]


def alternating(rounds: int, *works: Callable[[], object]) -> list[float]:
    """Median seconds of each, one after the other in every round, after one that loads and plans."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 1):
        for work, own in zip(works, times, strict=True):
            since = time.perf_counter()
            work()
            if number:
                own.append(time.perf_counter() - since)
    return [statistics.median(own) for own in times]


def together_and_apart(model: GenerativeModel, name: str, rounds: int = ROUNDS) -> str:
    """All layers in one batched generation, against one generation of two rows for each."""
    _, pairs = draw_pairs(model, 1, torch.Generator().manual_seed(0))
    assert pairs is not None
    plan = [Injection((layer,)) for layer in layers(model, pairs)]
    both = {key: torch.cat([pairs.o[key], pairs.e[key]]) for key in pairs.o}

    def paste(activations: torch.Tensor, _step: int) -> torch.Tensor:
        activations[0] = activations[1]
        return activations

    def apart() -> torch.Tensor:
        return torch.cat([model.generate(both, edits={i.candidates[0]: paste}).images[:1] for i in plan])

    ours, theirs = alternating(rounds, lambda: inject(model, pairs, plan, ""), apart)
    apart_by = (inject(model, pairs, plan, "")[0, 2:] - apart()).abs().max()
    return (
        f"{name}: {len(plan)} layers in one generation take {ours / theirs:.2f} of the time of {len(plan)} generations "
        f"of two rows (target 0.33; {ours:.2f} s against {theirs:.2f} s); pixels differ by at most {apart_by:.0e}"
    )


def hooks(model: Denoiser, n: int = 16) -> str:
    """A generation whose every layer is hooked, and edited, against one without hooks."""
    inputs = model.draw(n, torch.Generator().manual_seed(0))

    def untouched(activations: torch.Tensor, _step: int = 0) -> torch.Tensor:
        return activations

    def hooked() -> None:
        with ExitStack() as stack:
            for site in model.sites.values():
                stack.callback(intercept(site, untouched))
            model.generate(inputs)

    edits = dict.fromkeys(model.sites, untouched)
    plain, passed, edited = alternating(
        3 * ROUNDS, lambda: model.generate(inputs), hooked, lambda: model.generate(inputs, edits=edits)
    )
    return (
        f"hooks on all {len(edits)} layers: {100 * (passed / plain - 1):+.1f} % of a generation of {n} (target +3 %), "
        f"with a copy at each for edits to write into {100 * (edited / plain - 1):+.1f} %"
    )


def late(model: Denoiser) -> str:
    """Steps that windows of the last third take, counted in rows of the network, against starting from noise."""
    _, pairs = draw_pairs(model, 4, torch.Generator().manual_seed(0))
    assert pairs is not None
    plan = [Injection((name,), window=range(7, 10)) for name in layers(model, pairs)]
    rows: list[int] = []
    handle = model.unet.register_forward_pre_hook(lambda _module, args: rows.append(len(args[0])))
    inject(model, pairs, plan, "")
    handle.remove()
    whole = 10 * len(pairs) * (2 + len(plan))
    return (
        f"late windows: {sum(rows)} rows go through the network, {sum(rows) / whole:.2f} of the {whole} that starting "
        f"from noise would take (target 0.5)"
    )


def megabytes(rows: int) -> float:
    """Peak memory of a new process that injects all layers with batches of ``rows``, beyond that of batches of 3."""
    found = subprocess.run([sys.executable, __file__, str(rows)], check=True, capture_output=True, text=True).stdout
    return float(found)


def grown(rows: int) -> float:
    """What :func:`megabytes` reads, in this process."""
    model = unet()
    _, pairs = draw_pairs(model, 32, torch.Generator().manual_seed(0))
    assert pairs is not None
    plan = [Injection((name,)) for name in layers(model, pairs)]
    inject(model, pairs.part(0, 1), plan, "", rows=3)
    before = peak()
    inject(model, pairs, plan, "", rows=rows)
    return peak() - before


def peak() -> float:
    """Most memory that this process has held, in MB."""
    return float(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024


def lines() -> Iterator[str]:
    """One per ratio."""
    keep_freed_memory()
    model = unet()
    yield f"injection: {torch.get_num_threads()} threads, float32"
    yield together_and_apart(model, "U-Net at 32×32")
    yield hooks(model)
    yield late(model)
    with tempfile.TemporaryDirectory() as folder:
        yield together_and_apart(tiny_stable_diffusion(Path(folder)), "tiny Stable Diffusion 1.4", rounds=3)
    small, large = megabytes(64), megabytes(256)
    yield f"memory: {small:.0f} MB in batches of 64 rows, {large:.0f} MB in batches of 256"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(grown(int(sys.argv[1])))
