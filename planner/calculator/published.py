"""Published KV tables beside ours: in which unit a figure is right, or why it is wrong.

Authors print GB where they computed GiB, and 16k where they meant 16,000 or 16,384. A cell is right when one
reading of its unit and its length gives the printed digits; a wrong one names the cause, and the cause is
computed as well: it must give the printed digits itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path

from planner.catalog.models import load_model
from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, AttentionKv, KvLayer, ModelFacts
from planner.memory.kv import kv_bytes_per_token

PUBLISHED_FILE = Path(__file__).with_name("published.yaml")
UNITS = {"GiB": 2**30, "GB": 10**9}
LOOSE_DIGITS = 3
"""Figures of up to so many digits without decimals are taken as rounded words ("180 GB"): 0.6 % counts as right."""
LOOSE_SHARE = Fraction(6, 1000)


@dataclass(frozen=True)
class Reading:
    """One way to read a cell: its unit, and its length in tokens."""

    unit: str
    tokens: int


@dataclass(frozen=True)
class Cell:
    """One published figure beside ours. `reading` is the one that makes it right; None where none does."""

    length: str
    published: str
    unit: str
    tokens: int
    our_bytes: int
    reading: Reading | None
    cause_reading: Reading | None = None
    """The reading under which the named cause gives the printed digits."""

    @property
    def is_right(self) -> bool:
        """Whether one reading of unit and length gives the printed digits."""
        return self.reading is not None

    @property
    def factor(self) -> Fraction:
        """Published over ours, both as GiB or as the unit that is right."""
        unit = (self.reading or self.cause_reading or Reading("GiB", self.tokens)).unit
        return Fraction(self.published.replace(",", "")) * UNITS.get(unit, 1) / self.our_bytes


@dataclass(frozen=True)
class PublishedRow:
    """The cells of one model of a table, and what is wrong with them if they are."""

    model: str
    batch: int
    bytes_per_token: int
    cells: tuple[Cell, ...]
    words: str

    @property
    def is_right(self) -> bool:
        """Whether every cell is."""
        return all(cell.is_right for cell in self.cells)


@dataclass(frozen=True)
class PublishedTable:
    """One published table."""

    title: str
    source: str
    unit: str
    rows: tuple[PublishedRow, ...]


def published_tables() -> tuple[PublishedTable, ...]:
    """All published tables, each cell computed again."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = yaml.load(PUBLISHED_FILE.read_bytes(), Loader=loader)  # noqa: S506 (a safe loader)
    return tuple(_table(each) for each in tree["tables"])


def _table(tree: dict[str, object]) -> PublishedTable:
    unit, rows = str(tree["unit"]), tree["rows"]
    assert isinstance(rows, list)
    return PublishedTable(str(tree["title"]), str(tree["source"]), unit, tuple(_row(each, unit) for each in rows))


def _row(tree: dict[str, object], unit: str) -> PublishedRow:
    model = _model(str(tree["model"]))
    batch = int(str(tree.get("batch", 1)))
    instead, cells = tree.get("instead"), tree["cells"]
    assert isinstance(cells, list)
    cause = _cause(model, instead) if isinstance(instead, dict) else None
    done = tuple(_cell(str(length), str(figure), unit, batch, model, cause) for length, figure in cells)
    return PublishedRow(model.id, batch, _per_token(model), done, str(tree.get("words", "")))


def _model(name: str) -> ModelFacts:
    facts = load_model(name, Path())
    if isinstance(facts, str):
        raise ValueError(f"published.yaml names a model that the catalog does not have: {facts}")
    return facts


def _cause(model: ModelFacts, instead: dict[str, object]) -> ModelFacts:
    """The model as the authors must have seen it."""
    if "model" in instead:
        return _model(str(instead["model"]))
    heads = int(str(instead["kv_heads"]))

    def taken(layer: KvLayer) -> KvLayer:
        return replace(layer, kv_heads=heads) if isinstance(layer, AttentionKv) else layer

    return replace(model, kv_layers=tuple(map(taken, model.kv_layers)), kv_heads=heads)


def _cell(length: str, figure: str, unit: str, batch: int, model: ModelFacts, cause: ModelFacts | None) -> Cell:
    reading = _reading(length, figure, unit, batch * _per_token(model))
    of_cause = None if reading or cause is None else _reading(length, figure, unit, batch * _per_token(cause))
    tokens = (reading or of_cause or Reading(unit, _lengths(length)[0])).tokens
    our_bytes = tokens * batch * _per_token(model)
    return Cell(length, figure, unit, tokens, our_bytes, reading, of_cause)


def _per_token(model: ModelFacts) -> int:
    """Every layer with its whole context, as all of these tables count."""
    return kv_bytes_per_token(model, BF16_KV, Parallel())


def _lengths(text: str) -> tuple[int, ...]:
    """Tokens that a length may mean: 16k is 16,384 or 16,000.

    >>> _lengths("16k"), _lengths("1,024")
    ((16384, 16000), (1024,))
    """
    number = int(text.rstrip("kK").replace(",", ""))
    return (number * 1024, number * 1000) if text[-1] in "kK" else (number,)


def _reading(length: str, figure: str, unit: str, bytes_per_token: int) -> Reading | None:
    """The first reading that gives the printed digits: binary units first, since most authors used them."""
    units = ("B",) if unit == "B" else tuple(UNITS)
    for name in units:
        for tokens in _lengths(length):
            if _same_digits(Fraction(tokens * bytes_per_token, UNITS.get(name, 1)), figure):
                return Reading(name, tokens)
    return None


def _same_digits(value: Fraction, figure: str) -> bool:
    """Whether a value prints as the figure: rounded half up or cut, or within 0.6 % of a short whole number.

    >>> _same_digits(Fraction(125, 8), "15.62"), _same_digits(Fraction(1804, 10), "180"), _same_digits(Fraction(4), "5")
    (True, True, False)
    """
    plain = Decimal(figure.replace(",", ""))
    places = Decimal(1).scaleb(int(plain.as_tuple().exponent))
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    if any(exact.quantize(places, rounding=mode) == plain for mode in (ROUND_HALF_UP, ROUND_DOWN)):
        return True
    is_word = "." not in figure and len(figure) <= LOOSE_DIGITS
    return is_word and abs(value - Fraction(plain)) <= LOOSE_SHARE * Fraction(plain)
