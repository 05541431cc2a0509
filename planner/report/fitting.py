"""Pages with a length limit: whole rows only, in the order of what matters, and a note where rows had to go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """Rows between a beginning and an end. `note` says which rows were left out, with `{left}` for their number; a
    block without rows is text that always stays. `most` cuts rows that would fit, for the reader's sake."""

    before: str
    rows: tuple[str, ...] = ()
    after: str = ""
    note: str = ""
    most: int | None = None


def size(text: str) -> int:
    """UTF-8 bytes: never fewer than the characters that a limit may count."""
    return len(text.encode("utf-8", "surrogatepass"))


def fit(blocks: Sequence[Block], limit_bytes: int) -> str:
    """The page: earlier blocks get their rows first.

    >>> fit([Block("a\\n", ("1\\n", "2\\n"), note="and {left} more\\n")], 20)
    'a\\n1\\n2\\n'
    >>> fit([Block("a\\n", tuple(f"{n}\\n" for n in range(9)), note="and {left} more\\n")], 18)
    'a\\n0\\n1\\nand 7 more\\n'
    """
    left = limit_bytes - sum(size(block.before) + size(block.after) for block in blocks)
    left -= sum(_note_size(block) for block in blocks)
    parts = []
    for block in blocks:
        rows = block.rows if block.most is None else block.rows[: block.most]
        shown = 0
        left += _note_size(block)
        whole = sum(size(row) for row in block.rows)
        if len(rows) == len(block.rows) and whole <= left:
            shown, left = len(rows), left - whole
        else:
            left -= _note_size(block)
            for row in rows:
                if size(row) > left:
                    break
                shown, left = shown + 1, left - size(row)
        note = block.note.format(left=f"{len(block.rows) - shown:,}") if shown < len(block.rows) else ""
        parts.append("".join((block.before, *block.rows[:shown], note, block.after)))
    return "".join(parts)


def _note_size(block: Block) -> int:
    return size(block.note.format(left=f"{len(block.rows):,}")) if block.rows else 0
