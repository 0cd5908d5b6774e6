"""The one exception for what a user can put right, and how the command line tools show it."""

import errno
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import ParamSpec

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from datamodules.values import fault, ill_chosen, literal

P = ParamSpec("P")

UNWRITABLE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
)
FULL = (errno.ENOSPC, errno.EDQUOT)

MEMORY = ("can't allocate memory", "out of memory")
"""What PyTorch says in an error of no type of its own, on the CPU and on a GPU."""

EXTRAS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}
"""Launchers of Hydra's that come with an extra of ours."""

SAID = 160
"""Most characters of what a library says of memory."""

NAMED = 10
"""Most names that one message lists."""


class InputError(ValueError):
    """What was asked for cannot be done; the message names the field, the file and the remedy on one line."""


def listed(names: Sequence[object]) -> str:
    """Names for a message: the first :data:`NAMED`, bytes that are no UTF-8 escaped, and how many more there are."""
    first = ", ".join(os.fsencode(str(name)).decode(errors="backslashreplace") for name in names[:NAMED])
    return first if len(names) <= NAMED else f"{first} and {len(names) - NAMED} more"


def reports_errors(task: Callable[P, None]) -> Callable[P, None]:
    """Have a command line tool print what a user can put right as one line, and exit with status 2.

    Every other exception is a defect of ours and keeps its traceback.
    It goes around a console script, for what Hydra finds while composing, and around the job inside, since Hydra adds
    words of its own to an exception that leaves a job. The script's arguments are made what the user means by them,
    the job's configuration is looked through for values that nothing can use.
    """

    @functools.wraps(task)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        # Hydra would print a traceback and exit by itself; this has it pass the exception on.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        try:
            configs = [given for given in (*args, *kwargs.values()) if isinstance(given, DictConfig)]
            for config in configs:
                check_values(config)
            if not configs:
                sys.argv[1:] = arguments(sys.argv[1:])
            task(*args, **kwargs)
        except KeyboardInterrupt:
            print("interrupted; run the same command again to go on", file=sys.stderr)
        except Exception as error:
            if (line := one_line(error)) is None:
                raise
            print("error:", line, file=sys.stderr)
        else:
            return
        sys.exit(2)

    return wrapped


def arguments(given: Sequence[str]) -> list[str]:
    """Those that Hydra is to parse for those that were given; see :func:`datamodules.values.literal`.

    Raises:
        InputError: One of them chooses nothing, or the same twice.
    """
    meant = literal(given)
    if line := ill_chosen(meant):
        raise InputError(line)
    return meant


def check_values(config: DictConfig) -> None:
    """Refuse numbers that are none, seeds out of range and paths that are none, wherever they stand.

    Raises:
        InputError: Names the first.
    """
    if line := fault(config):
        raise InputError(line)


def one_line(error: Exception) -> str | None:
    """What the user can put right, on one line; ``None`` of a defect of ours."""
    if isinstance(error, InputError | HydraException | OmegaConfBaseException):
        return " ".join(_told(error).split())
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return f"{error.filename}: {error.strerror}: choose a directory that can be written"
    if isinstance(error, OSError) and error.errno in FULL:
        # What is written by a library does not always say where to.
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}: make room and run the same command again, which goes on from what is done"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(m in str(error) for m in MEMORY)):
        return (
            f"not enough memory ({' '.join(str(error).split())[:SAID]}): end what else runs, have fewer cells at a "
            "time by giving each more threads, or choose less of budget.batch_size, measure.n or injection.rows; what "
            "is done is kept"
        )
    return None


def _told(error: Exception) -> str:
    """What helps in an error's message: Hydra wraps what a constructor raises, and tells where it has looked."""
    if isinstance(error.__cause__, InputError):
        return str(error.__cause__)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and name in EXTRAS:
            return f"{group}={name} is not installed: pip install '.[{EXTRAS[name]}]'"
        # Hydra's own groups are no directories of ours.
        written = "" if group.startswith("hydra/") else f", or write configs/{group}/{name}.yaml"
        return f"{group}={name}: give one of {', '.join(error.options)}{written}"
    cause = error.__cause__
    if isinstance(error, ConfigCompositionException) and (known := _siblings(cause)):
        # Hydra would have it added as +name, which is right for a mapping that is empty, and read by no code elsewhere.
        return f"{getattr(cause, 'full_key', '')}: there is no such setting here: give one of {', '.join(known)}"
    return str(error)


def _siblings(cause: BaseException | None) -> list[str]:
    """The settings that there are where one was not found."""
    if not isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return []
    return [str(name) for name in cause.parent_node or () if not str(name).startswith(("_", "hydra"))]
