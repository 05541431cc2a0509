"""How the text of one value is read: from a `TextNode`, never from a Python number, since YAML's guesses are not used.

What is wrong becomes a diagnostic with a code and a sentence that says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from fractions import Fraction
from functools import partial
from typing import TypeVar

from pydantic_core import PydanticCustomError

from planner import units
from planner.catalog.parallel import parse_parallel
from planner.scenario.calendar import Span, parse_spans
from planner.scenario.source import TextNode
from planner.scenario.types import Parallel
from planner.scenario.weights import LATER_WEIGHTS, WEIGHTS
from planner.units import quote

_T = TypeVar("_T")

NAME_PATTERN = "[a-z0-9][a-z0-9.-]{0,63}"
MAX_TEXT_CHARS = 500
MAX_SHOWN_CHOICES = 12
_LATER_SHAPE = re.compile(r"(tp[1-9][0-9]{0,3})(?:-[a-z]+[0-9]*)*-(?:pcp|cp|sp|cfg)[0-9]+(?:-[a-z]+[0-9]*)*")
"""Shapes with parallelism that engines have and kvplan does not plan: of the prompt, of the sequence."""

_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,2})?)")


def mistake(code: str, message: str) -> PydanticCustomError:
    """A validation error that carries one of our codes and a finished sentence."""
    return PydanticCustomError("kvplan", "{code} {text}", {"code": code, "text": message})


def suggestion(word: str, known: tuple[str, ...] | list[str]) -> str:
    """What to write instead of a word: the nearest known one, or the whole list."""
    near = get_close_matches(word[:100], known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {quote(near[0])}?"
    if len(known) <= MAX_SHOWN_CHOICES:
        return f"write one of {', '.join(known)}"
    nearest = get_close_matches(word[:100], known, n=MAX_SHOWN_CHOICES, cutoff=0.4) or known[:MAX_SHOWN_CHOICES]
    return f"write one of {', '.join(nearest)}, ... ({len(known)} in all)"


def percentile_ppm(key: str) -> int | None:
    """The probability of a percentile key in ppm, or None if it is none.

    >>> percentile_ppm("p99.9"), percentile_ppm("p100")
    (999000, None)
    """
    match = _PERCENTILE.fullmatch(key)
    probability = Fraction(match[1]) * 10_000 if match else Fraction(0)
    return int(probability) if probability > 0 else None


def _text(node: object, example: str) -> str:
    """The text of a scalar node that is not empty."""
    if not isinstance(node, TextNode):
        shape = "a map" if isinstance(node, dict) else "a list"
        raise mistake("KV303", f"expected one value, read {shape}; write it like {example}")
    if node.is_empty:
        raise mistake("KV303", f"no value stands here; write one like {example}")
    return node.text


def read(code: str, parse: Callable[[str], _T], example: str, node: object) -> _T:
    """The value of a scalar node; a `ValueError` of the unit reader becomes a diagnostic with this code."""
    text = _text(node, example)
    try:
        return parse(text)
    except ValueError as error:
        raise mistake(code, str(error)) from error


def read_plain(code: str, parse: Callable[[str], _T], example: str, node: object) -> _T:
    """Like `read`, for numbers and flags, which are not quoted."""
    _text(node, example)
    if isinstance(node, TextNode) and not node.plain:
        raise mistake(
            code,
            f"{quote(node.text)} stands in quotes and is a text; write it without quotes, like {example}",
        )
    return read(code, parse, example, node)


def _parse_flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{quote(text)} is neither true nor false; write true or false")
    return text == "true"


def read_flag(node: object) -> bool:
    """True or false, as YAML writes them."""
    return read_plain("KV211", _parse_flag, "true", node)


def parse_line(text: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"{quote(text)} has more than {MAX_TEXT_CHARS} characters; shorten it")
    if not text.strip() or not all(char.isprintable() for char in text):
        raise ValueError(f"{quote(text)} is not one line of text; write a short text in one line")
    return text


def parse_name(text: str) -> str:
    if not re.fullmatch(NAME_PATTERN, text):
        raise ValueError(f"{quote(text)} is not a name; write lower-case letters, digits, '-' and '.', like prod-eu")
    return text


def parse_choice(choices: tuple[str, ...], text: str) -> str:
    if text not in choices:
        raise ValueError(f"{quote(text)} is not one of the choices; {suggestion(text, choices)}")
    return text


def parse_allowed_row(text: str) -> str:
    if not re.fullmatch(rf"{NAME_PATTERN}@[A-Za-z0-9][A-Za-z0-9.+-]{{0,63}}", text):
        raise ValueError(f"{quote(text)} is not a row of the preset table; write id@version, like nvfp4@0.24")
    return text


def parse_format(text: str) -> int:
    if text != "1":
        raise ValueError(f"format {quote(text)} is not understood by this version; write kvplan: 1")
    return 1


def parse_pue(text: str) -> Fraction:
    return _in_ppm(units.parse_decimal(text, "1.25", low=1, high=10), text)


def parse_tokens_per_step(text: str) -> Fraction:
    return _in_ppm(units.parse_decimal(text, "2.4", low=1, high=65), text)


def _in_ppm(value: Fraction, text: str) -> Fraction:
    if (value * units.PPM).denominator != 1:
        raise ValueError(f"{quote(text)} has more than six decimals; round it")
    return value


def parse_scale(text: str) -> Fraction:
    value = _in_ppm(units.parse_decimal(text, "2.5", high=1_000_000), text)
    if value == 0:
        raise ValueError(f"{quote(text)} leaves no requests; write a number above 0, like 2.5")
    return value


def parse_utilization(text: str) -> Fraction:
    value = units.parse_decimal(text, "0.92", high=1)
    if value == 0:
        raise ValueError(f"{quote(text)} leaves the engine no memory; write a number above 0, like 0.92")
    return _in_ppm(value, text)


def read_weights(node: object) -> str:
    text = _text(node, "fp8")
    if text in LATER_WEIGHTS:
        raise mistake("KV502", f"weights {quote(text)} are not supported yet; write {LATER_WEIGHTS[text]}")
    if text.lower() in WEIGHTS and text not in WEIGHTS:
        raise mistake("KV212", f"{quote(text)} is not one of the choices; did you mean {quote(text.lower())}?")
    return read("KV212", partial(parse_choice, WEIGHTS), "fp8", node)


def read_parallel(node: object) -> Parallel:
    text = _text(node, "tp4")
    later = _LATER_SHAPE.fullmatch(text) if len(text) <= units.MAX_TEXT_CHARS else None
    if later:
        raise mistake("KV503", f"the shape {quote(text)} is not supported yet; write {later[1]} without that part")
    # Unicode digits and invisible characters never reach the reader of shapes, nor do texts of any length.
    if not text.isascii() or not text.isprintable() or len(text) > units.MAX_TEXT_CHARS:
        message = f"{quote(text)} is no parallel shape; write tpN[-ppN][-dpN][-dcpN][-ep], such as tp4 or tp4-pp2"
        raise mistake("KV212", message)
    shape = parse_parallel(text)
    if isinstance(shape, str):
        raise mistake("KV212", shape)
    if re.search(r"[a-z]0[0-9]", text):
        raise mistake("KV212", f"{quote(text)} has a number that starts with 0; write {shape}")
    return shape


def parse_per_gpu(text: str) -> int:
    """Bytes of memory on each GPU."""
    amount, slash, unit = text.partition("/")
    if not slash or unit != "gpu":
        raise ValueError(f"{quote(text)} is not an amount of memory on each GPU; write it like 3GiB/gpu")
    try:
        size_bytes = units.parse_bytes(amount)
    except ValueError as error:
        raise ValueError(f"{error}, with /gpu behind it") from error
    if size_bytes < 1:
        raise ValueError(f"{quote(text)} adds nothing; write an amount above 0, like 3GiB/gpu, or leave it out")
    return size_bytes


def read_period(node: object) -> tuple[Span, ...]:
    """The minutes of a period; none for `rest`."""
    return read("KV215", parse_spans, "Mon-Fri 08:00-20:00", node)


def read_growth(node: object) -> tuple[int, ...] | int:
    """Growth a month in ppm, or the rates of every month as shares of what is written."""
    if isinstance(node, list):
        parse = partial(units.parse_share_ppm, high_ppm=100 * units.PPM)
        return tuple(read("KV205", parse, "105%", item) for item in node)
    return read("KV216", units.parse_growth_ppm, "5%/mo", node)


def read_loss(node: object) -> int | None:
    """Nodes that are lost; None for all of them."""
    if isinstance(node, TextNode) and node.text == "all":
        return None
    return read("KV207", units.parse_nodes, "1 node, or all", node)


def key_name(key: str) -> str:
    try:
        return parse_name(key)
    except ValueError as error:
        raise mistake("KV210", str(error)) from error


def key_percentile(key: str) -> str:
    if key != "max" and percentile_ppm(key) is None:
        raise mistake("KV403", f"{quote(key)} is not a percentile; write p50, p95, p99.9, ... or max")
    return key


def as_list(value: object) -> object:
    """A list is a choice, a scalar is fixed: one value is read as a list of one."""
    return value if isinstance(value, list | dict) else [value]


def distinct(values: tuple[_T, ...]) -> tuple[_T, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise mistake("KV305", f"{quote(str(value))} stands twice in this list; keep one")
    if not values:
        raise mistake("KV304", "the list is empty; write at least one value, or leave the key out")
    return values
