"""Commands as a shell runs them, without the quarter of a minute that importing takes each time.

A command runs in a process of its own, with its own directory, arguments, standard output and exit status. It is forked
from one that has imported everything and done nothing yet: a fork of the tests' process would tear its threads in two.
"""

import importlib
import os
import subprocess
import sys
import tempfile
from multiprocessing import forkserver, get_context

import pytest

PATIENCE = 600
"""Seconds after which a command is taken to hang."""

# What a study imports at last, too: W&B's launcher and diffusers' pipelines.
IMPORTED = [
    "analysis.study",
    "analysis.align",
    "analysis.cells.side_by_side",
    "paradigms.pretrained.pipeline",
    "wandb.sdk.launch",
]


def begin():
    """Start the process that imports everything, for commands of one thread each."""
    get_context("forkserver").set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()


def no_sweep_before(patch):
    """Have a study that runs in the tests' process know nothing of those that did before."""
    sweep = importlib.import_module("analysis.study").Sweep
    for name, value in (("config", None), ("cells", {}), ("overrides", {})):
        patch.setattr(sweep, name, value)


def run(directory, module, *arguments):
    """Run ``python -m module arguments`` in a directory.

    Returns:
        A ``CompletedProcess`` with the exit status and what was printed.
    """
    begin()
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        process = get_context("forkserver").Process(
            target=called, args=(module, directory, arguments, out.name, err.name)
        )
        process.start()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        printed = [stream.read().decode() for stream in (out, err)]
    return subprocess.CompletedProcess([module, *arguments], process.exitcode, *printed)


def called(module, directory, arguments, out, err):
    """In the other process: the command, whose exit status is the process's."""
    for number, name in ((1, out), (2, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.chdir(directory)
    sys.argv = [module, *map(str, arguments)]
    importlib.import_module(module).main()
