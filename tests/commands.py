"""Commands as a shell runs them, without the quarter of a minute that importing takes each time.

A command runs in a fork of the tests' process, where everything is imported already, with its own directory, arguments,
standard output and exit status. Its cells come from a process that is shared by all commands, for the same reason.
"""

import importlib
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from multiprocessing import forkserver

from analysis.cells.side_by_side import __name__ as SIDE_BY_SIDE


def run(directory, module, *arguments):
    """Run ``python -m module arguments`` in a directory.

    Returns:
        A ``CompletedProcess`` with the exit status and what was printed.
    """
    command = importlib.import_module(module)
    share_imports(module)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            status = 1
            try:
                status = called(command, directory, arguments, out, err)
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        printed = []
        for stream in (out, err):
            stream.seek(0)
            printed.append(stream.read().decode())
    return subprocess.CompletedProcess([module, *arguments], os.waitstatus_to_exitcode(status), *printed)


def called(command, directory, arguments, out, err):
    """In the fork: the exit status of the command."""
    for stream, number in ((out, 1), (err, 2)):
        os.dup2(stream.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    # It runs, and is no child of this process, which would look for it among its own.
    forkserver._forkserver.ensure_running = lambda: None
    os.chdir(directory)
    sys.argv = [command.__name__, *map(str, arguments)]
    try:
        command.main()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def share_imports(module):
    """Start the process that cells come from, once: what it has imported serves all commands."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    forkserver.set_forkserver_preload([SIDE_BY_SIDE, "analysis.study", module])
    heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, heeded)
