"""A pretrained pipeline in the place of a training: a run directory that can be measured and injected."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from datamodules.errors import InputError
from datamodules.files import check_writable, digest_of, readable, write_whole
from paradigms.pretrained.prompts import Prompts
from paradigms.settings import absolute
from paradigms.train import git_commit

KEPT = ("pipeline", "data", "seed")


def prepare(config: DictConfig, run: Path) -> DictConfig:
    """What is kept in ``run`` of the configuration; nothing is written or loaded yet.

    Args:
        config: With ``pipeline``, which builds the model, ``data``, ``seed``, ``paradigm_name`` and ``data_name``.
        run: The run directory.

    Raises:
        InputError: ``run`` holds another model or cannot be written, or no model is named.
    """
    if OmegaConf.is_missing(config, "model"):
        raise InputError("model is not set: give the directory of a saved pipeline, or its name on the hub")
    check_writable("run", run)
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    settings = {name: resolved[name] for name in KEPT}
    for name in ("model", "prior"):
        if (path := config.get(name)) and Path(path).exists():
            settings["pipeline"][name] = absolute(path)
    if path := OmegaConf.select(config, "prompts"):
        settings["pipeline"]["prompts"]["path"] = absolute(path)
    # Without a folder there are no real images, and nothing but injection.
    if config.data.folder is None:
        settings["data"] = None
    else:
        settings["data"]["folder"] = absolute(config.data.folder)
    kept = run / "config.yaml"
    if kept.exists():
        with readable(kept, "remove it and run the same command again"):
            before = OmegaConf.load(kept)
            # Nothing is trained on these images: they are no part of the model.
            before.data = settings["data"]
        if OmegaConf.to_yaml(before) != OmegaConf.to_yaml(settings):
            raise InputError(f"{run} was begun with another model or other settings: choose another dir, or remove it")
    return OmegaConf.create(settings)


def adopt(config: DictConfig, run: Path) -> None:
    """Write ``config.yaml`` and ``manifest.json`` of a pretrained pipeline into ``run``; nothing is loaded yet.

    Args:
        config: See :func:`prepare`.
        run: The run directory.

    Raises:
        InputError: See :func:`prepare`.
    """
    kept = prepare(config, run)
    sources = sources_of(kept)
    hashes = {name: digest_of(path) for name, path in sources.items()}
    noted = run / "manifest.json"
    if noted.exists():
        with readable(noted, "remove it and run the same command again"):
            before = json.loads(noted.read_text()).get("hashes", {})
        for name in hashes.keys() & before.keys():
            if hashes[name] != before[name]:
                print(f"{run}: {name}={sources[name]} has changed: what was made with it is made again")
    run.mkdir(parents=True, exist_ok=True)
    write_whole(run / "config.yaml", OmegaConf.to_yaml(kept))
    manifest = {
        "cell": run.name,
        "paradigm": config.paradigm_name,
        "data": config.data_name,
        "bottleneck": 0,
        "seed": config.seed,
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")}
        | {"python": platform.python_version()},
        "git_commit": git_commit(),
        "hashes": hashes,
        "sources": {name: str(path) for name, path in sources.items()},
    }
    write_whole(noted, json.dumps(manifest, indent=2) + "\n")


def sources_of(kept: DictConfig) -> dict[str, Path]:
    """The files and directories on this machine that decide what a pipeline makes, by the setting that names them."""
    named = {
        "model": OmegaConf.select(kept, "pipeline.model"),
        "prior": OmegaConf.select(kept, "pipeline.prior"),
        "prompts": OmegaConf.select(kept, "pipeline.prompts.path"),
    }
    return {name: Path(path) for name, path in named.items() if path and Path(path).exists()}


def prompts(path: str | None) -> Prompts:
    """Those of a CSV; without one, objects before backgrounds in styles, each varying alone."""
    return Prompts.combined() if path is None else Prompts.read(Path(path))
