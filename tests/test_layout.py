import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("datamodules", "paradigms", "analysis")
FLOORS = (
    ("metrics",),
    ("results", "calibration", "failures"),
    ("features",),
    ("experiment",),
    ("density", "smoothness", "organization", "relevance", "split", "alignment", "axes"),
    ("judgement", "quality", "curves"),
    ("properties", "splitting"),
    ("cells", "report"),
    ("measure", "inject", "align", "validate", "separation", "headlines"),
    ("plan",),
    ("study",),
)
"""Rooms and modules of ``analysis``, from the ground up: each may import from its own room and from those below."""

FORBIDDEN = {"datamodules": ("paradigms", "analysis"), "paradigms": ("analysis",), "analysis": ("paradigms",)}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_the_import_rule_holds(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        for name in imports(file):
            if name != "paradigms.contract":
                assert name.split(".")[0] not in FORBIDDEN[package], f"{file.name} imports {name}"


def module_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(file, known):
    """Modules of ours that a file imports; a name that is no module is found in the package that it comes from."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_imports_in_analysis_go_down_only():
    floor_of = {name: floor for floor, names in enumerate(FLOORS) for name in names}
    files = {module_of(file): file for file in (ROOT / "analysis").rglob("*.py")}
    assert {name.split(".")[1] for name in files if name != "analysis"} == set(floor_of)
    upwards = []
    for module, file in files.items():
        if module == "analysis":
            continue
        own = module.split(".")[1]
        for name in imported_modules(file, files):
            if name.startswith("analysis."):
                other = name.split(".")[1]
                if other != own and floor_of[other] >= floor_of[own]:
                    upwards.append(f"{module} imports {name}")
    assert upwards == []


def test_names_that_others_rely_on_are_where_they_were():
    known = {
        "analysis": "measure_model split_model verdicts Factors Extent",
        "analysis.density": "prdc kid frechet_distance",
        "analysis.smoothness": "path_shape",
        "analysis.organization": "mutual_knn cka rsa mixture linear_probe mig dci sap modularity factor_vae beta_vae",
        "analysis.relevance": "effects",
        "analysis.calibration": "bootstrap halves holm max_statistic permutation_p_value permutations verdict",
    }
    for module, names in known.items():
        for name in names.split():
            assert callable(getattr(import_module(module), name)), f"{module}.{name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_by_a_detour(package):
    files = {module_of(file): file for file in (ROOT / package).rglob("*.py")}
    graph = {module: set(imported_modules(file, files)) & set(files) - {module} for module, file in files.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(files)


@pytest.mark.parametrize("folder", [*PACKAGES, "tests"])
def test_files_stay_near_300_lines(folder):
    sizes = {file.name: len(file.read_text().splitlines()) for file in (ROOT / folder).rglob("*.py")}
    assert sizes
    assert {name: lines for name, lines in sizes.items() if lines > 330} == {}


def test_the_packages_come_from_this_checkout_in_any_directory(tmp_path):
    code = "import sys; from importlib.util import find_spec; print(*(find_spec(name).origin for name in sys.argv[1:]))"
    found = subprocess.run(
        [sys.executable, "-c", code, *PACKAGES], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    others = {str(Path(line).parents[1]) for line in found.stdout.split()} - {str(ROOT)}
    assert not others, f"the environment has the packages of {', '.join(others)}: run pip install --editable . here"
