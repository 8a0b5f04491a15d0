import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import chbackup


def test_all_is_sorted_and_is_what_type_checkers_see():
    tree = ast.parse(Path(chbackup.__file__).read_text())
    seen = [
        name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level for name in node.names
    ]
    assert chbackup.__all__ == sorted(seen) == dir(chbackup)


def test_a_name_that_is_not_there_is_said():
    with pytest.raises(AttributeError, match="has no attribute 'Sidecar'"):
        chbackup.Sidecar  # noqa: B018


def test_everything_public_has_a_docstring():
    for name in chbackup.__all__:
        value = getattr(chbackup, name)
        assert value.__doc__, name
        for member, attribute in vars(value).items() if inspect.isclass(value) else ():
            if not member.startswith("_") and (inspect.isfunction(attribute) or isinstance(attribute, property)):
                assert attribute.__doc__, f"{name}.{member}"


def test_the_sdk_imports_nothing_that_an_extra_brings():
    extras = {"typer", "yaml", "uvicorn", "trio", "chbackup.testing"}
    script = f"import sys; from chbackup import *; print(*{extras} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "\n"
