import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("datamodules", "paradigms", "analysis")
FORBIDDEN = {"datamodules": ("paradigms", "analysis"), "paradigms": ("analysis",), "analysis": ("paradigms",)}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_the_import_rule_holds(package):
    files = list((ROOT / package).glob("*.py"))
    assert files
    for file in files:
        for name in imports(file):
            if name != "paradigms.contract":
                assert name.split(".")[0] not in FORBIDDEN[package], f"{file.name} imports {name}"


@pytest.mark.parametrize("folder", [*PACKAGES, "tests"])
def test_files_stay_near_300_lines(folder):
    sizes = {file.name: len(file.read_text().splitlines()) for file in (ROOT / folder).rglob("*.py")}
    assert sizes
    assert {name: lines for name, lines in sizes.items() if lines > 330} == {}


def test_the_packages_come_from_this_checkout_in_any_directory(tmp_path):
    code = f"import {', '.join(PACKAGES)}; print({', '.join(f'{name}.__file__' for name in PACKAGES)}, sep='\\n')"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [Path(line).parent.parent for line in found.stdout.split()] == [ROOT] * 3


def test_an_unknown_paradigm_is_one_error_with_the_alternatives(tmp_path):
    command = [sys.executable, "-m", "paradigms.train", "paradigm=nothing"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "paradigm/nothing" in found.stderr
    assert "diffusion" in found.stderr
    assert "Traceback" not in found.stderr
