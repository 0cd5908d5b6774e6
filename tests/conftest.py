"""What all tests share."""

import sys

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Import what commands need while the first tests run, so that no test waits for all of it."""
    if "commands" in sys.modules:
        sys.modules["commands"].begin()
