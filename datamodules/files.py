"""Files that a killed process leaves whole, and what is said of those that are damaged all the same."""

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from datamodules import progress
from datamodules.errors import InputError

PIECE = 1 << 22
"""Bytes read at a time."""

LOCK = ".lock"
"""In a directory that one process at a time works on: which."""

BYTES: dict[str, Any] = {"unit": "B", "unit_scale": True, "leave": False, "delay": 1, "disable": None}
"""Of a bar."""


def write_whole(file: Path, content: str | bytes) -> None:
    """Write by rename: ``file`` holds all of ``content`` or what it held before, also where two processes write it.

    Raises:
        OSError: It cannot be written there; no part of it is left behind.
    """
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of all that lies in a directory, with its names."""
    found = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    with tqdm(total=sum(f.stat().st_size for f in files), desc=f"reading {path.name}", **BYTES) as bar:
        for file in files:
            found.update(b"" if file == path else str(file.relative_to(path)).encode())
            with file.open("rb") as content:
                while piece := content.read(PIECE):
                    found.update(piece)
                    bar.update(len(piece))
    return found.hexdigest()


def check_writable(setting: str, folder: Path) -> None:
    """Refuse a directory that cannot be written, or not be made, long before it is; nothing stays behind.

    Raises:
        InputError: Names the setting and the part of the path that is in the way.
    """
    there = folder.expanduser().absolute()
    try:
        while not there.exists():
            there = there.parent
        # Permissions alone do not tell: nothing can be made under /proc, whoever one is.
        Path(mkdtemp(dir=there)).rmdir()
    except OSError as error:
        raise InputError(
            f"{setting}={folder}: {there} cannot be written ({error.strerror}): choose a directory that can be written"
        ) from error


@contextmanager
def keeping(cache_dir: Path, name: str) -> Iterator[None]:
    """Around the writing of a file of the cache, whose directory is made if need be.

    Raises:
        InputError: It cannot be written there.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(
            f"data.cache_dir={cache_dir}: {name} cannot be written there ({error.strerror}): choose a directory that "
            "can be, with data.cache_dir=<directory>"
        ) from error


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Have ``folder`` for this process alone: another that wants it waits, and says for whom.

    The system lets go of it when a process ends, however that ends, so that nothing stale is left behind. A process
    that has it may ask for it again.

    Args:
        folder: Made if need be.
    """
    lock = FileLock(folder / LOCK, is_singleton=True, on_acquired=_sign)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = f"waiting for {(folder / LOCK).read_text()}, which works on it"
        if progress.listener is None:
            print(f"{folder}: {holder}", flush=True)
        progress.stage(holder, lasting=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sign(descriptor: int) -> None:
    """Write who holds a lock into its file."""
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}".encode(), 0)


@contextmanager
def readable(file: Path, remedy: str) -> Iterator[None]:
    """Around the reading of a file: whatever goes wrong, the file is damaged.

    Args:
        file: The file, which the message names.
        remedy: What the user is to do about it.

    Raises:
        InputError: It cannot be read.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # Damage has as many exceptions as there are formats.
        raise InputError(f"file={file} cannot be read: {remedy}: {type(error).__name__}: {error}") from error
