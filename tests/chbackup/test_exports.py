import inspect
import subprocess
import sys

import chbackup


def test_all_is_sorted_and_complete():
    public = {
        name for name, value in vars(chbackup).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert chbackup.__all__ == sorted(chbackup.__all__)
    assert set(chbackup.__all__) == public


def test_everything_public_has_a_docstring():
    for name in chbackup.__all__:
        value = getattr(chbackup, name)
        assert value.__doc__, name
        for member, attribute in vars(value).items() if inspect.isclass(value) else ():
            if not member.startswith("_") and (inspect.isfunction(attribute) or isinstance(attribute, property)):
                assert attribute.__doc__, f"{name}.{member}"


def test_the_sdk_imports_nothing_that_an_extra_brings():
    script = "import sys, chbackup; print(*{'typer', 'yaml', 'uvicorn', 'trio', 'chbackup.testing'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "\n"
