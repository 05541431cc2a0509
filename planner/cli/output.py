"""What every command shares: exit codes, one document on stdout, messages on stderr, whole-file writing."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import click

from planner.report.printable import printable

EXIT_OK = 0
EXIT_INPUT = 1
EXIT_INFEASIBLE = 3
EXIT_NO_PLAN = 4
EXIT_GUARDRAIL = 5
EXIT_DISPROVED = 6
EXIT_PROMISE_FAILED = 7
EXIT_BUG = 70
EXIT_INTERRUPTED = 130

INTERRUPTED = "kvplan: interrupted; nothing was written"

DEVICES = ("/dev/", "/proc/")
"""Names of streams: a rename would take the place of whatever file they stand for."""


def say(text: str) -> None:
    """The command's document on stdout. A reader that closed the pipe has seen enough: the exit code stays."""
    try:
        click.echo(printable(text), nl=not text.endswith("\n"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        fail(f"kvplan: cannot write to standard output: {error.strerror}", EXIT_INPUT)


def say_error(message: str) -> None:
    """A message on stderr."""
    click.echo(printable(message), err=True)


def fail(message: str, code: int) -> NoReturn:
    """A message on stderr and an exit code."""
    say_error(message)
    sys.exit(code)


def check_target(path: str, inputs: Iterable[str] = ()) -> None:
    """Finds out before a long solve that its plan could not be written, or would take the place of what was read.

    Raises:
        click.FileError: the folder does not take a new file, or the name is taken by something that is no file.
        click.UsageError: the name is empty, or stands for one of `inputs`, by whatever link.
    """
    if path in ("", "-"):
        raise click.UsageError("-o needs the name of a file; `--format json` writes to standard output")
    target = _target(path)
    for name in inputs:
        if target.exists() and Path(name).exists() and target.samefile(name):
            raise click.UsageError(f"-o {printable(path)} is an input of this plan; write another name")
    device = str(Path(path).absolute()).startswith(DEVICES)
    if device or (target.exists() and not target.is_file()):
        hint = "it exists and is no regular file; `--format json` writes to standard output"
        raise click.FileError(printable(path), hint)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        Path(name).unlink()
    except OSError as error:
        raise click.FileError(printable(path), hint=error.strerror or str(error)) from None


def write_whole(path: str, text: str) -> None:
    """Writes a file whole or not at all: a temporary name beside it, then a rename.

    Raises:
        click.FileError: the file cannot be written.
    """
    target = _target(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(printable(text))
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
            Path(name).chmod(mode)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise click.FileError(printable(path), hint=error.strerror or str(error)) from None


def _target(path: str) -> Path:
    """The file itself where the path is a link to it: the link stays."""
    return Path(os.path.realpath(path))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def width() -> int:
    """Columns to use: the terminal's, or 100 where there is none."""
    if not sys.stdout.isatty():
        return 100
    return max(60, min(os.get_terminal_size().columns, 160))
