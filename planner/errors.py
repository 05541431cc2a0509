"""The diagnostic record and the errors that kvplan shows to its users.

A diagnostic says what is wrong, what was read and what to write instead, and where: `file:line:col`. Rooms
that read input collect every diagnostic, sort them, and raise one `InputError`; nothing else is public.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Diagnostic:
    """One mistake in the input. Lines and columns count from 1; 0 means a whole file or a flag."""

    file: str
    line: int
    col: int
    code: str
    message: str

    def __str__(self) -> str:
        """`file:line:col: error: message [KVnnn]`; parts that are 0 are left out."""
        place = ":".join(str(part) for part in (self.file, self.line, self.col) if part)
        return f"{place}: error: {self.message} [{self.code}]"


class InputError(Exception):
    """Wrong input: every mistake at once, sorted by file, line and column. The command line exits with 1."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(set(diagnostics)))
        super().__init__("\n".join(str(diagnostic) for diagnostic in self.diagnostics))
