"""What a training can be asked for: refused on one line where it cannot be done, and kept so that it is found again."""

import json
import os
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import torch
from hydra.errors import HydraException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter, ValidationError

from datamodules.base import ImageDataModule
from datamodules.errors import InputError, check_values
from datamodules.files import readable
from datamodules.inventory import check_same
from paradigms.base import Paradigm

DECISIVE = ("paradigm", "data", "bottleneck", "seed", "budget", "precision")
"""The parts of the configuration that decide what a trained model is."""
STORES = ("cache_dir", "root", "download")
"""Settings of data sets that say where copies are kept and how they come, which decides nothing."""
FOLDER = "folder"
"""The setting of a data set that says where images are that are no copies: they decide, and not where they lie."""
CHOICES = {
    "accelerator": ("auto", "cpu", "gpu"),
    "precision": ("auto", "bf16-mixed", "32-true"),
    "trainer.strategy": ("auto", "ddp"),
}


def check(config: DictConfig) -> None:
    """Refuse what no training can start with, before anything is written.

    Raises:
        InputError: A setting is of another type, or none of its choices, or there are not as many devices.
    """
    for name, choices in CHOICES.items():
        if (value := OmegaConf.select(config, name)) not in choices:
            raise InputError(f"{name}={value}: give one of {', '.join(choices)}")
    if config.wandb.mode not in (modes := ("offline", "online", "disabled")):
        raise InputError(f"wandb.mode={config.wandb.mode}: give one of {', '.join(modes)}")
    for name in ("bottleneck", "threads", "trainer.devices", *(f"budget.{key}" for key in config.budget)):
        value = OmegaConf.select(config, name)
        if not isinstance(value, int) and not (name == "threads" and value is None):
            raise InputError(f"{name}={value}: give a whole number")
    if config.threads is not None and config.threads < 1:
        raise InputError(f"threads={config.threads}: give at least 1, or leave it at null")
    if config.accelerator == "gpu" and not torch.accelerator.is_available():
        raise InputError("accelerator=gpu: PyTorch finds none here: leave it at auto")
    check_devices(config)
    check_values(config)
    for section in ("data", "paradigm"):
        check_types(section, config[section])


def check_devices(config: DictConfig) -> None:
    """Refuse more devices than there are, or than share a batch evenly.

    Raises:
        InputError: Names the setting.
    """
    devices = config.trainer.devices
    if devices < 1:
        raise InputError(f"trainer.devices={devices}: give at least 1")
    if not on_cpu(config.accelerator) and devices > (there := torch.accelerator.device_count()):
        raise InputError(f"trainer.devices={devices}: PyTorch finds {there} here: give as many, or accelerator=cpu")
    for name in ("budget.batch_size", "paradigm.update_images"):
        value = OmegaConf.select(config, name)
        if isinstance(value, int) and value % devices:
            raise InputError(
                f"{name}={value} is what all devices have together, and trainer.devices={devices} cannot share it "
                f"evenly: give a multiple of {devices}"
            )


def hints(settings: DictConfig) -> dict[str, Any]:
    """The annotations of what ``settings`` build."""
    return {name: p.annotation for name, p in signature(get_class(settings._target_)).parameters.items()}


def check_types(section: str, settings: DictConfig) -> None:
    """Refuse settings that are not of the type that the constructor they are for is annotated with.

    Raises:
        InputError: Names the first.
    """
    values = OmegaConf.to_container(settings, resolve=True)
    assert isinstance(values, dict)
    for name, hint in hints(settings).items():
        if name not in values or OmegaConf.is_missing(settings, name):
            continue
        try:
            # As JSON, where a list may stand for a tuple and a text for a path; strict, so that no text is a number.
            TypeAdapter(hint).validate_json(json.dumps(values[name]), strict=True)
        except ValidationError as error:
            wanted = " or ".join(
                dict.fromkeys(fault["msg"].removeprefix("Input should be ") for fault in error.errors())
            )
            raise InputError(f"{section}.{name}={values[name]}: give {wanted.replace('array', 'list')}") from error


def with_absolute_paths(config: DictConfig) -> DictConfig:
    """A copy whose data is found from any directory."""
    config = config.copy()
    config.data_dir = absolute(config.data_dir)
    for name, hint in hints(config.data).items():
        if Path in get_args(hint) and config.data.get(name) is not None:
            config.data[name] = absolute(config.data[name])
    return config


def absolute(path: str) -> str:
    """``path`` from the root, its ``~`` replaced."""
    return str(Path(path).expanduser().absolute())


def kept_settings(config: DictConfig, run: Path) -> DictConfig:
    """What a run directory says its training was begun with; empty if it was not.

    Args:
        config: Of the training that is asked for, with absolute paths.
        run: The run directory.

    Raises:
        InputError: It was begun with other settings: names the first that differs; or config.yaml cannot be read.
    """
    path = run / "config.yaml"
    if not path.exists():
        return OmegaConf.create()
    with readable(path, "remove it and run the same command again"):
        found = OmegaConf.load(path)
        assert isinstance(found, DictConfig)
        kept = with_absolute_paths(found)
        before = decisive(kept)
    now = decisive(config)
    for key, old in before.items():
        new = now[key]
        if old != new:
            if isinstance(old, dict) and isinstance(new, dict):
                inner = next(k for k in {**old, **new} if old.get(k) != new.get(k))
                key, old, new = f"{key}.{inner}", old.get(inner), new.get(inner)
            raise InputError(f"{run} was begun with {key}={old}, not {new}: choose another directory, or remove it")
    return kept


def decisive(config: DictConfig) -> dict[str, Any]:
    """What decides what a trained model is."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    found = {key: values[key] for key in DECISIVE}
    # A setting that has come since the training has decided it by what it is where it is not given.
    parameters = signature(get_class(config.paradigm._target_)).parameters.items()
    found["paradigm"] = {name: p.default for name, p in parameters if p.default is not p.empty} | found["paradigm"]
    return found | {"data": {name: value for name, value in found["data"].items() if name not in (*STORES, FOLDER)}}


def check_images(before: DictConfig, data: ImageDataModule, run: Path) -> None:
    """Refuse a folder with other images than those that a training was begun with; the same may lie elsewhere.

    Args:
        before: What is kept of that training, see :func:`kept_settings`.
        data: The data set of the training that is asked for.
        run: The run directory.

    Raises:
        InputError: Names what differs.
    """
    if before and FOLDER in before.data:
        check_same(data, before.get("data_digest"), run)


def check_fits(config: DictConfig) -> None:
    """Refuse networks that do not fit the images, or the memory of the machine; none of their values is made.

    Args:
        config: Complete, its ``precision`` and ``accelerator`` known.

    Raises:
        InputError: Says what a training would take and what there is.
    """
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with torch.device("meta"):
            paradigm: Paradigm = instantiate(config.paradigm, _convert_="all")
    except HydraException as error:
        # In PyTorch's words, a size that no integer holds.
        if "overflow" not in str(error.__cause__).lower():
            raise
        needed = "more than any machine has"
    else:
        # Of each value that is trained also a gradient and the two averages of AdamW.
        values = sum(p.numel() for p in paradigm.parameters()) + 3 * paradigm.trained_parameters
        if (size := torch.float32.itemsize * values) <= there:
            return
        needed = f"{size / 1e9:,.0f} GB"
    raise InputError(
        f"bottleneck={config.bottleneck}: training this {config.paradigm_name} takes {needed} of memory, and this "
        f"machine has {there / 1e9:,.0f} GB: give fewer, or a narrower network"
    )


def on_cpu(accelerator: str) -> bool:
    """Whether ``accelerator``, which is ``auto``, ``cpu`` or ``gpu``, comes to the CPU on this machine."""
    return accelerator == "cpu" or not torch.accelerator.is_available()


def fastest_precision(accelerator: str) -> str:
    """``bf16-mixed`` where the hardware computes bfloat16, else ``32-true``: emulated, it is up to 100 times slower.

    Args:
        accelerator: ``auto``, ``cpu`` or ``gpu``.
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return "bf16-mixed" if native else "32-true"
