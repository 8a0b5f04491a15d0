"""Errors as text for a log."""

import traceback
from pathlib import Path

from chbackup.errors import ChbackupError
from cozydrivers.errors import CozydriversError


def describe(error: BaseException) -> str:
    """Put an error into words that may stand in a log.

    Our own errors and the system's are quoted. The text of any other may hold an object: it is left out, and the
    place in the code is told instead.
    """
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(child) for child in error.exceptions)
    if isinstance(error, CozydriversError | ChbackupError | OSError):
        return str(error) or type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name}, {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
