"""Networks that are trained once for a data set, and kept."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save
from torch import nn

from datamodules.files import check_writable, readable, write_whole


def train_once(net: nn.Module, name: str, made_of: tuple[object, ...], cache: Path, train: Callable[[], None]) -> None:
    """Give a network its weights: those that were kept, or else those that training gives, which are kept then.

    Args:
        net: Whose weights are replaced.
        name: What the file's name begins with.
        made_of: All that decides what the weights are; it names the file.
        cache: Directory of the file.
        train: Trains ``net`` in place.

    Raises:
        InputError: ``cache`` cannot be written, or what was kept there is damaged.
    """
    file = cache / f"{name}-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]}.safetensors"
    if file.exists():
        with readable(file, "remove it and run the same command again"):
            net.load_state_dict(load_file(file))
        return
    check_writable("data_dir", cache)
    cache.mkdir(parents=True, exist_ok=True)
    train()
    write_whole(file, save(net.state_dict()))
