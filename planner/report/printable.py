"""What may reach a terminal: text without control characters, whatever file names or plan files hold."""

from __future__ import annotations

import unicodedata

KEPT = "\n"
HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Controls (escape sequences), formats (right-to-left overrides), lone surrogates, line and paragraph breaks."""


def printable(text: str) -> str:
    """The text with everything that a terminal could act on written as an escape; line feeds stay.

    Inside a JSON document the result means the same: such characters stand in strings only, where JSON reads the
    escape as the character.

    >>> printable("plan\\x1b[31m.json\\n"), printable("Zürich 8 €")
    ('plan\\\\u001b[31m.json\\n', 'Zürich 8 €')
    """
    if text.isascii() and text.replace(KEPT, "").isprintable():
        return text
    return "".join(char if char in KEPT or not _acts(char) else _escaped(char) for char in text)


def _acts(char: str) -> bool:
    return unicodedata.category(char) in HIDDEN_CATEGORIES


def _escaped(char: str) -> str:
    """JSON's escape; characters beyond 16 bits as a pair of surrogates."""
    code = ord(char)
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
