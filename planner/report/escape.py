"""Text from users inside Markdown, workflow commands and spreadsheets: shown as written, never acted on.

Names in a scenario are checked, but plan and diff documents may hold anything. GitHub turns mentions, references, links
and emoji codes of plain text into something else, whether entities hide them or not; only code is left alone. So what
looks like one of these becomes code, and every other character that Markdown or HTML knows becomes an entity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from planner.report.printable import printable

MOST_CHARACTERS = 160
"""What a name or value may take in a page that has a length limit; longer ones are cut, visibly."""

_ACTIVE = re.compile(r"[&<>`*\[\]\\|~!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\$(?!\d)|(?<![A-Za-z0-9])#")
_LINKED = re.compile(r"@|https?:|www\.|#\d|\bGH-\d|:[\w+-]+:")
_WORDS = re.compile(r"(\s+)")
_PLAIN_CODE = re.compile(r"[A-Za-z0-9 .,:;/=%$€£+\-{}()\[\]_'\"@#^&!?*~→]+")
_MARKER_SAFE = re.compile(r"[A-Za-z0-9._]|-(?!-|$)")


def one_line(text: str, most: int = MOST_CHARACTERS) -> str:
    r"""Printable text on one line, at most `most` characters.

    >>> one_line("a\nb\x1b[0m"), one_line("x" * 9, 5)
    ('a b\\u001b[0m', 'xxxx…')
    """
    shown = printable(" ".join(text.split("\n")))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def escape(text: str, most: int = MOST_CHARACTERS) -> str:
    """Markdown that reads as the text, on one line, in tables too.

    >>> escape("a|b <script>"), escape("ask @finance"), escape("+$19,213.60 (+27.7%)")
    ('a&#124;b &lt;script&gt;', 'ask <code>@finance</code>', '+$19,213.60 (+27.7%)')
    """
    words = _WORDS.split(one_line(text, most))
    return "".join(_linked(word) if _LINKED.search(word) else _entities(word) for word in words)


def _linked(word: str) -> str:
    """A word that GitHub would link, as code; the punctuation behind it is not part of it."""
    bare = word.rstrip(".,:;!?")
    return f"<code>{_entities(bare)}</code>{_entities(word[len(bare) :])}" if bare else _entities(word)


def code(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text as inline code.

    >>> code("traffic.chat.peak"), code("a`b|c")
    ('`traffic.chat.peak`', '<code>a&#96;b&#124;c</code>')
    """
    line = one_line(text, most)
    if _PLAIN_CODE.fullmatch(line) and line == line.strip():
        return f"`{line}`"
    return html_code(line, most)


def html_code(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text as inline code in HTML, for places where backticks are not read."""
    return f"<code>{_entities(one_line(text, most)) or '&nbsp;'}</code>"


def _entities(text: str) -> str:
    return _ACTIVE.sub(lambda found: _entity(found[0]), text)


def _entity(char: str) -> str:
    return {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(char) or f"&#{ord(char)};"


def fenced(lines: Sequence[str], language: str) -> tuple[str, str]:
    """The opening and closing line of a code block that none of the lines can close.

    >>> fenced(["a", "+````"], "diff")
    ('`````diff', '`````')
    """
    longest = max((len(run) for line in lines for run in re.findall(r"`+", line)), default=0)
    ticks = "`" * max(3, longest + 1)
    return ticks + language, ticks


def marker(name: str) -> str:
    """The hidden first line by which a workflow finds its comment again; nothing in a name can end it.

    >>> marker("prod-eu-2027q1"), marker("a --> b")
    ('<!-- kvplan:prod-eu-2027q1 -->', '<!-- kvplan:a%20%2D-%3E%20b -->')
    """
    shown = []
    for position, char in enumerate(name[:MOST_CHARACTERS]):
        safe = _MARKER_SAFE.match(name, position) is not None
        shown.append(char if safe else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass")))
    return f"<!-- kvplan:{''.join(shown)} -->"


def command_data(text: str) -> str:
    r"""The message of a workflow command: one line, nothing that starts another command.

    Source: the toolkit of GitHub Actions, `escapeData` in packages/core/src/command.ts.

    >>> command_data("100%\n::error::x")
    '100%25%0A::error::x'
    """
    shown = printable(text.replace("\r\n", "\n"))
    return shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def command_property(text: str) -> str:
    """A property of a workflow command, such as a file name.

    Source: the toolkit of GitHub Actions, `escapeProperty` in packages/core/src/command.ts.

    >>> command_property("a,b:c.yaml")
    'a%2Cb%3Ac.yaml'
    """
    return command_data(text).replace(":", "%3A").replace(",", "%2C")


def inert(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: a leading apostrophe where it could.

    Source: OWASP, "CSV Injection".

    >>> inert("=HYPERLINK(1)"), inert("assistant-1"), inert(" +1")
    ("'=HYPERLINK(1)", 'assistant-1', "' +1")
    """
    shown = printable(text).replace("\n", " ")
    return f"'{shown}" if shown.lstrip()[:1] in tuple("=+-@＝＋－＠") else shown
