"""Files and directories that several processes want."""

import multiprocessing
import os
import signal

import pytest

from datamodules.files import LOCK, held


def hold(folder, begun, go):
    with held(folder):
        begun.set()
        go.wait(60)


def wait(folder, done):
    with held(folder):
        done.set()


@pytest.mark.parametrize("end", ["returns", "is killed"])
def test_a_directory_is_one_process_s_at_a_time_until_that_ends(tmp_path, end):
    context = multiprocessing.get_context("fork")
    begun, go, done = (context.Event() for _ in range(3))
    first = context.Process(target=hold, args=(tmp_path / "cell", begun, go))
    first.start()
    assert begun.wait(60)
    second = context.Process(target=wait, args=(tmp_path / "cell", done))
    second.start()
    assert not done.wait(0.5)
    assert (tmp_path / "cell" / LOCK).read_text().startswith(f"process {first.pid} on ")
    if end == "returns":
        go.set()
    else:
        os.kill(first.pid, signal.SIGKILL)
    assert done.wait(60)
    for process in (first, second):
        process.join()


def test_who_has_a_directory_may_ask_for_it_again(tmp_path):
    with held(tmp_path), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_who_waits_is_told_for_whom(tmp_path, capfd):
    context = multiprocessing.get_context("fork")
    begun, go, done = (context.Event() for _ in range(3))
    first = context.Process(target=hold, args=(tmp_path, begun, go))
    first.start()
    assert begun.wait(60)
    second = context.Process(target=wait, args=(tmp_path, done))
    second.start()
    assert not done.wait(0.5)
    go.set()
    for process in (first, second):
        process.join()
    assert (
        capfd.readouterr().out
        == f"{tmp_path}: waiting for process {first.pid} on {os.uname().nodename}, which works on it\n"
    )
