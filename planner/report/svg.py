"""What pictures share: colors that suit light and dark pages, text that stays text, nothing that is loaded."""

from __future__ import annotations

from html import escape

from planner.report.printable import printable

STYLE = """
    :root { --paper: #ffffff; --ink: #1f2328; --faint: #d8dee4; --soft: #57606a }
    :root { --one: #0550ae; --two: #bc4c00; --three: #1a7f37; --four: #8250df; --end: #cf222e }
    @media (prefers-color-scheme: dark) {
      :root { --paper: #0d1117; --ink: #e6edf3; --faint: #30363d; --soft: #9198a1 }
      :root { --one: #79c0ff; --two: #ffa657; --three: #7ee787; --four: #d2a8ff; --end: #ff7b72 }
    }
    text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--ink) }
    .title { font-size: 16px; font-weight: 600 }
    .soft { fill: var(--soft) }
    .line { fill: none; stroke-width: 2; stroke-linejoin: round }
    .grid { stroke: var(--faint); stroke-width: 1 }
    .end { stroke: var(--end); stroke-width: 1.5 }
    .axis { stroke: var(--soft); stroke-width: 1 }
"""

COLORS = ("--one", "--two", "--three", "--four")


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """A label; nothing for no words."""
    style = f' class="{kind}"' if kind else ""
    return f'  <text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{style}>{safe(words)}</text>' if words else ""


def safe(words: str) -> str:
    """Text that an XML reader takes as text, whatever a file name held."""
    return escape(printable(words))


def document(width: int, height: int, title: str, parts: list[str]) -> str:
    """A whole SVG document."""
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"\n'
        f'  role="img">\n  <title>{safe(title)}</title>\n  <style>{STYLE}  </style>\n'
        f'  <rect width="{width}" height="{height}" fill="var(--paper)"/>\n'
    )
    return opening + "\n".join(part for part in parts if part) + "\n</svg>\n"
