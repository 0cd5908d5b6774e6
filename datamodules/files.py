"""Files that a killed process leaves whole, and what is said of those that are damaged all the same."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datamodules.errors import InputError


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
