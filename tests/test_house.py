"""The house: who may import whom, what is installed, and what `import graphc` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {"graphc": "graphc", "graphc.passes": "passes", "graphc.runtime": "runtime"}
ROOMS = ("graphc.passes", "graphc.codegen", "graphc.runtime")
# What each room may know of the rest. Only the driver sees all of them.
DRIVER = ("graphc.compiler", "graphc.cli")
FRONT = ("graphc.nn", "graphc.optim")  # what users build with; it knows nothing of compilation
RUNTIME_KNOWS = ("graphc.runtime", "graphc.program", "graphc.errors", "graphc.types")


def modules() -> Iterator[tuple[str, Path]]:
    """Every module by its installed name."""
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join((package, *(part for part in parts if part != "__init__"))), path


def imports(name: str, path: Path) -> set[str]:
    """Every graphc module that a module imports, anywhere in it, by full name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {module for module in found if module.split(".")[0] == "graphc"}


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


ALL = dict(modules())


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_do_not_know_each_other(room: str) -> None:
    others = tuple(other for other in ROOMS if other != room)
    for name, path in ALL.items():
        if within(name, (room,)):
            for module in imports(name, path):
                assert not within(module, (*others, *DRIVER, *FRONT)), f"{name} imports {module}"
                if room == "graphc.runtime":
                    assert within(module, RUNTIME_KNOWS), f"{name} imports {module}"


def test_only_the_driver_sees_all_rooms() -> None:
    for name, path in ALL.items():
        if not within(name, (*ROOMS, *DRIVER)):
            for module in imports(name, path):
                assert not within(module, ROOMS), f"{name} imports {module}"


def test_every_package_is_installed() -> None:
    found = {name for name, path in ALL.items() if path.name == "__init__.py"}
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])
    folders = {path.parent for path in ALL.values()}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_importing_graphc_loads_no_compiler() -> None:
    """llvmlite, networkx and safetensors come in where they are used."""
    code = "import sys, graphc, graphc.nn, graphc.optim; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"llvmlite", "networkx", "safetensors"} & set(result.stdout.split())


def test_files_stay_short() -> None:
    """About 300 lines, one concept each."""
    others = [path for folder in ("benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
    for path in (*ALL.values(), *others):
        lines = path.read_text().count("\n")
        assert lines <= 350, f"{path.relative_to(ROOT)} has {lines} lines"
