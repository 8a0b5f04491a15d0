"""Commands for `POST /backup/actions`: which are understood as they are meant. Pure functions.

Some commands end the server's process, hang it, or are answered by closing the connection (seen on 2.7.4 and
2.8.1-dev); others lose an argument without a word. They are refused.
"""

import re
import shlex
from dataclasses import dataclass

from .errors import InvalidInput
from .names import check_name

_CREATING = frozenset(("create", "create_remote"))
_NAMING = _CREATING | frozenset(
    ("upload", "download", "restore", "restore_remote", "rebase", "rebalance")  # begun, and answered at once
)
_DONE_AT_ONCE = frozenset(("delete", "clean", "clean_local_broken", "clean_remote_broken", "kill"))
_NAMELESS = frozenset(("clean", "clean_local_broken", "clean_remote_broken", "list", "watch"))
_VERBS = _NAMING | _DONE_AT_ONCE | _NAMELESS

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_COMMENT = re.compile(r"(?:^|\s)#")
_FORBIDDEN = re.compile(r"--?(?:env|config|c|help|h|version|v)(?:=.*)?|-|--")


@dataclass(frozen=True)
class Command:
    """A command as the server reads it. `name` is "" for one that is about no archive."""

    text: str
    verb: str
    name: str = ""

    @property
    def starts(self) -> bool:
        """Whether it begins an operation on an archive, and is answered at once."""
        return self.verb in _NAMING

    @property
    def waits(self) -> bool:
        """Whether the answer comes when the work is done."""
        return self.verb in _DONE_AT_ONCE


def read_command(command: str) -> Command:
    """Read a command; its words are never repeated in an error, they may hold secrets.

    Raises InvalidInput.
    """
    verb, words = _words(command)
    flags = [word for word in words if word.startswith("-")]
    others = [word for word in words if not word.startswith("-")]
    if any(_FORBIDDEN.fullmatch(flag) for flag in flags):
        raise _wrong(verb, "--env, --config, --help, --version and a lone dash are not accepted: some end the server")
    if verb == "watch":
        return _watch(command, flags)
    if verb != "kill" and any(word.startswith("-") for word in words[len(flags) :]):
        raise _wrong(verb, "flags must come before the arguments and be written as --flag=value")
    return Command(command, verb, _archive(verb, words if verb == "kill" else others))


def _words(command: str) -> tuple[str, list[str]]:
    if not command.strip() or _CONTROL.search(command):
        raise InvalidInput("command must not be empty, or hold line breaks, tabs or control characters")
    if _COMMENT.search(command):
        raise InvalidInput("command must not hold a word that begins with '#': the server takes it for a comment")
    try:
        verb, *words = shlex.split(command)
    except ValueError as error:
        raise InvalidInput(f"command has bad quoting: {error}") from None
    if verb not in _VERBS:
        raise InvalidInput(f"command must begin with one of {', '.join(sorted(_VERBS))}")
    return verb, words


def _watch(command: str, flags: list[str]) -> Command:
    if any("=" in flag for flag in flags):
        raise _wrong("watch", "write --flag value, with a blank: --flag=value breaks the request on 2.7.4")
    return Command(command, "watch")


def _archive(verb: str, arguments: list[str]) -> str:
    if verb == "kill":
        if len(arguments) != 1 or not arguments[0]:
            raise _wrong(verb, "it needs the command to be killed, as one quoted word: alone it would kill itself")
        return ""
    if verb == "delete":
        if len(arguments) != 2 or arguments[0] not in ("local", "remote"):
            raise _wrong(verb, "it needs `local` or `remote` and one name: anything else ends the server's process")
        return check_name(arguments[1], existing=True)
    if verb in _NAMING:
        if len(arguments) != 1:
            raise _wrong(verb, f"it needs exactly one name, not {len(arguments)}; write flags as --flag=value")
        return check_name(arguments[0], existing=verb not in _CREATING)
    if len(arguments) > (verb == "list"):
        raise _wrong(verb, "it takes no argument that is not a flag")
    return ""


def _wrong(verb: str, problem: str) -> InvalidInput:
    return InvalidInput(f"command `{verb}`: {problem}")
