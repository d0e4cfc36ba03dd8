"""Rules that no linter knows."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

CODE = ("api", "workers", "tasks", "services", "migrations", "ops", "sandbox", "tests")
MAX_LINES = 500
BANNED_NAMES = {"utils", "util", "helpers", "helper", "managers", "manager", "constants", "common", "misc"}


def files(*folders: str) -> Iterator[Path]:
    """Python files below those folders."""
    for folder in folders or CODE:
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_no_file_is_longer_than_a_person_can_hold_in_mind():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in files()
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long


def test_one_place_commits():
    """services/core/db.py commits sessions; loops that own a raw connection say COMMIT in their SQL."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files("api", "workers", "tasks", "services")
        if path != ROOT / "services" / "core" / "db.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
    ]
    assert not found


def test_names_say_what_is_inside():
    found = [
        str(path.relative_to(ROOT))
        for path in files()
        if BANNED_NAMES & {path.stem, *path.relative_to(ROOT).with_suffix("").parts}
    ]
    assert not found


def test_the_api_speaks_no_sql():
    found = []
    for path in files("api"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom | ast.Import) else []
            module = node.module if isinstance(node, ast.ImportFrom) else ""
            if module == "sqlalchemy" or {"select", "insert", "update", "delete", "text"} & set(names):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


def test_endpoints_are_plain_functions_unless_they_stream():
    """A coroutine that waits for the database would hold up every other request."""
    allowed = {"health"}
    found = []
    for path in files("api"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef) and node.name not in allowed:
                routes = [
                    d for d in node.decorator_list if isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute)
                ]
                verbs = {d.func.attr for d in routes if isinstance(d.func, ast.Attribute)}
                streams = any("events" in ast.dump(d) for d in routes)
                if verbs & {"get", "post", "put", "patch", "delete"} and not streams:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not found


HEAVY = {"supabase", "storage3", "pandas", "openpyxl", "firecrawl", "openai", "alembic", "procrastinate"}


def test_heavy_libraries_are_imported_where_they_are_used():
    """At the top of a module they would be carried by every process that imports it."""
    found = []
    for path in files("api", "workers", "tasks", "services"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if HEAVY & {name.partition(".")[0] for name in names}:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


@pytest.mark.parametrize("folder", ["api", "services"])
def test_promises_are_written_down(folder):
    """Public modules, classes and functions have a docstring."""
    missing = []
    for path in files(folder):
        tree = ast.parse(path.read_text())
        for node in [tree, *tree.body]:
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = getattr(node, "name", path.stem)
                if path.read_text() and not name.startswith("_") and not ast.get_docstring(node):
                    missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert not missing


def test_who_may_import_whom():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
