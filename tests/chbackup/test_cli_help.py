"""What the commands say of themselves, and what they need."""

import os
import re
import subprocess
import sys

import pytest
import typer.main

from chbackup.cli import app, main

COMMANDS = typer.main.get_group(app).commands
FLOWS = {"backup", "restore", "delete", "wait", "cancel", "purge"}


def run(*command, **env):
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)


def options(name):
    return {option for parameter in COMMANDS[name].params for option in parameter.opts if option.startswith("-")}


def test_the_commands_are_those_of_the_design():
    assert set(COMMANDS) == {"list", "tables", "actions", "status", "version"} | FLOWS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_common_options(name):
    assert options(name) >= {"--url", "--username", "--password-file", "--timeout", "--output", "-o"}
    assert "--password" not in options(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"Example: chbackup {name}" in capsys.readouterr().out
    assert COMMANDS[name].help
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", ""), parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_is_valid(name):
    words = str(COMMANDS[name].epilog).removeprefix("Example: ")
    assert words.startswith(f"chbackup {name}")
    assert set(re.findall(r"(?<!\S)(--?[a-z-]+)", words)) <= options(name)


def test_help_is_0_and_has_the_exit_codes(capsys):
    assert main(["--help"]) == 0
    assert "Exit codes" in capsys.readouterr().out


def test_a_shell_completes_commands_and_values():
    found = run(
        sys.executable,
        "-m",
        "chbackup.cli",
        _CHBACKUP_COMPLETE="complete_bash",
        COMP_WORDS="chbackup li",
        COMP_CWORD="1",
    )
    assert found.stdout.split() == ["list"]
    words = {"COMP_WORDS": "chbackup list re", "COMP_CWORD": "2"}
    found = run(sys.executable, "-m", "chbackup.cli", _CHBACKUP_COMPLETE="complete_bash", **words)
    assert found.stdout.split() == ["remote"]


def test_without_the_extra_it_is_named(tmp_path):
    hide = tmp_path / "typer.py"
    hide.write_text("raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')")
    found = run(sys.executable, "-c", "import chbackup.cli", PYTHONPATH=str(tmp_path))
    assert found.returncode == 2
    assert found.stderr == "typer is missing: pip install 'chbackup[cli]'\n"


def test_help_imports_nothing_that_only_some_commands_need():
    script = "import sys, chbackup.cli; print(*{'yaml', 'uvicorn', 'trio', 'chbackup.testing'} & set(sys.modules))"
    assert run(sys.executable, "-c", script).stdout == "\n"
