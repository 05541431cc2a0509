"""What every command shares: exit codes, whole-file writing, messages on stderr."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import click

EXIT_OK = 0
EXIT_INPUT = 1
EXIT_INFEASIBLE = 3
EXIT_NO_PLAN = 4
EXIT_DISPROVED = 6
EXIT_BUG = 70
EXIT_INTERRUPTED = 130


def fail(message: str, code: int) -> NoReturn:
    """A message on stderr and an exit code."""
    click.echo(message, err=True)
    sys.exit(code)


def write_whole(path: str, text: str) -> None:
    """Writes a file whole or not at all: a temporary name beside it, then a rename.

    Raises:
        click.FileError: the file cannot be written.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
            Path(name).chmod(mode)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise click.FileError(path, hint=error.strerror or str(error)) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def width() -> int:
    """Columns to use: the terminal's, or 100 where there is none."""
    if not sys.stdout.isatty():
        return 100
    return max(60, min(os.get_terminal_size().columns, 160))
