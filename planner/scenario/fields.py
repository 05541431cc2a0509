"""The scalar types of the scenario language: how the text of one value is read, and how editors see it.

Each type is an annotated Python type: a reader that takes a `TextNode` (never a Python number: YAML's
guesses are not used), and the JSON Schema that lets an editor complete and check the same value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from functools import partial
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from planner import units
from planner.catalog.parallel import parse_parallel
from planner.scenario.calendar import Span, parse_spans, parse_time_of_day
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


def _read(code: str, parse: Callable[[str], _T], example: str, node: object) -> _T:
    """The value of a scalar node; a `ValueError` of the unit reader becomes a diagnostic with this code."""
    text = _text(node, example)
    try:
        return parse(text)
    except ValueError as error:
        raise mistake(code, str(error)) from error


def _read_plain(code: str, parse: Callable[[str], _T], example: str, node: object) -> _T:
    """Like `_read`, for numbers and flags, which are not quoted."""
    _text(node, example)
    if isinstance(node, TextNode) and not node.plain:
        raise mistake(
            code,
            f"{quote(node.text)} stands in quotes and is a text; write it without quotes, like {example}",
        )
    return _read(code, parse, example, node)


def _parse_flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{quote(text)} is neither true nor false; write true or false")
    return text == "true"


def read_flag(node: object) -> bool:
    """True or false, as YAML writes them."""
    return _read_plain("KV211", _parse_flag, "true", node)


def parse_line(text: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"{quote(text)} has more than {MAX_TEXT_CHARS} characters; shorten it")
    if not text.strip() or not all(char.isprintable() for char in text):
        raise ValueError(f"{quote(text)} is not one line of text; write a short text in one line")
    return text


def _parse_name(text: str) -> str:
    if not re.fullmatch(NAME_PATTERN, text):
        raise ValueError(f"{quote(text)} is not a name; write lower-case letters, digits, '-' and '.', like prod-eu")
    return text


def _parse_choice(choices: tuple[str, ...], text: str) -> str:
    if text not in choices:
        raise ValueError(f"{quote(text)} is not one of the choices; {suggestion(text, choices)}")
    return text


def _parse_allowed_row(text: str) -> str:
    if not re.fullmatch(rf"{NAME_PATTERN}@[A-Za-z0-9][A-Za-z0-9.+-]{{0,63}}", text):
        raise ValueError(f"{quote(text)} is not a row of the preset table; write id@version, like nvfp4@0.24")
    return text


def _parse_format(text: str) -> int:
    if text != "1":
        raise ValueError(f"format {quote(text)} is not understood by this version; write kvplan: 1")
    return 1


def _parse_pue(text: str) -> Fraction:
    return _in_ppm(units.parse_decimal(text, "1.25", low=1, high=10), text)


def _parse_tokens_per_step(text: str) -> Fraction:
    return _in_ppm(units.parse_decimal(text, "2.4", low=1, high=65), text)


def _in_ppm(value: Fraction, text: str) -> Fraction:
    if (value * units.PPM).denominator != 1:
        raise ValueError(f"{quote(text)} has more than six decimals; round it")
    return value


def _parse_scale(text: str) -> Fraction:
    value = _in_ppm(units.parse_decimal(text, "2.5", high=1_000_000), text)
    if value == 0:
        raise ValueError(f"{quote(text)} leaves no requests; write a number above 0, like 2.5")
    return value


def _parse_utilization(text: str) -> Fraction:
    value = units.parse_decimal(text, "0.92", high=1)
    if value == 0:
        raise ValueError(f"{quote(text)} leaves the engine no memory; write a number above 0, like 0.92")
    return _in_ppm(value, text)


def _read_weights(node: object) -> str:
    text = _text(node, "fp8")
    if text in LATER_WEIGHTS:
        raise mistake("KV502", f"weights {quote(text)} are not supported yet; write {LATER_WEIGHTS[text]}")
    if text.lower() in WEIGHTS and text not in WEIGHTS:
        raise mistake("KV212", f"{quote(text)} is not one of the choices; did you mean {quote(text.lower())}?")
    return _read("KV212", partial(_parse_choice, WEIGHTS), "fp8", node)


def _read_parallel(node: object) -> Parallel:
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


def _parse_per_gpu(text: str) -> int:
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


def _read_period(node: object) -> tuple[Span, ...]:
    """The minutes of a period; none for `rest`."""
    return _read("KV215", parse_spans, "Mon-Fri 08:00-20:00", node)


def _read_growth(node: object) -> tuple[int, ...] | int:
    """Growth a month in ppm, or the rates of every month as shares of what is written."""
    if isinstance(node, list):
        parse = partial(units.parse_share_ppm, high_ppm=100 * units.PPM)
        return tuple(_read("KV205", parse, "105%", item) for item in node)
    return _read("KV216", units.parse_growth_ppm, "5%/mo", node)


def _read_loss(node: object) -> int | None:
    """Nodes that are lost; None for all of them."""
    if isinstance(node, TextNode) and node.text == "all":
        return None
    return _read("KV207", units.parse_nodes, "1 node, or all", node)


def _key_name(key: str) -> str:
    try:
        return _parse_name(key)
    except ValueError as error:
        raise mistake("KV210", str(error)) from error


def _key_percentile(key: str) -> str:
    if key != "max" and percentile_ppm(key) is None:
        raise mistake("KV403", f"{quote(key)} is not a percentile; write p50, p95, p99.9, ... or max")
    return key


def _as_list(value: object) -> object:
    """A list is a choice, a scalar is fixed: one value is read as a list of one."""
    return value if isinstance(value, list | dict) else [value]


def _distinct(values: tuple[_T, ...]) -> tuple[_T, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise mistake("KV305", f"{quote(str(value))} stands twice in this list; keep one")
    if not values:
        raise mistake("KV304", "the list is empty; write at least one value, or leave the key out")
    return values


@dataclass(frozen=True)
class _OneOrManySchema:
    """Editors accept one value or a list of different values."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        items = handler(schema)["items"]
        return {"anyOf": [items, {"type": "array", "items": items, "minItems": 1, "uniqueItems": True}]}


ONE_OR_MANY = (BeforeValidator(_as_list), AfterValidator(_distinct), _OneOrManySchema())
"""Metadata of `Annotated[tuple[X, ...], *ONE_OR_MANY]`: a scalar is fixed, a list is a choice."""

_WHOLE = r"(0|[1-9][0-9]{0,2}(_[0-9]{3})+|[1-9][0-9]*)"
_NUMBER = _WHOLE + r"(\.[0-9]{1,9})?"


def _schema(title: str, pattern: str | None, *examples: str, also: JsonSchemaValue | None = None) -> WithJsonSchema:
    """JSON Schema of a scalar: its name in the manual, its pattern, examples; `also` for what YAML reads as
    a number."""
    text: JsonSchemaValue = {"type": "string"} | ({"pattern": f"^{pattern}$"} if pattern else {})
    described: JsonSchemaValue = {"title": title, "examples": list(examples)}
    return WithJsonSchema(described | ({"anyOf": [also, text]} if also else text))


def _choice_schema(title: str, choices: tuple[str, ...]) -> WithJsonSchema:
    return WithJsonSchema({"title": title, "enum": list(choices), "examples": list(choices[:1])})


def _count(low: int, high: int, example: str) -> tuple[PlainValidator, WithJsonSchema]:
    parse = partial(units.parse_integer, example=example, low=low, high=high)
    number: JsonSchemaValue = {"type": "integer", "minimum": low, "maximum": high}
    return (
        PlainValidator(partial(_read_plain, "KV208", parse, example)),
        _schema("whole number", _WHOLE, example, also=number),
    )


def _decimal(parse: Callable[[str], Fraction], example: str) -> tuple[PlainValidator, WithJsonSchema]:
    return (
        PlainValidator(partial(_read_plain, "KV209", parse, example)),
        _schema("decimal number", _NUMBER, example, also={"type": "number", "minimum": 0}),
    )


def _share(low_ppm: int, high_ppm: int, example: str) -> tuple[PlainValidator, WithJsonSchema]:
    parse = partial(units.parse_share_ppm, low_ppm=low_ppm, high_ppm=high_ppm)
    return PlainValidator(partial(_read, "KV205", parse, example)), _schema("share", _NUMBER + " ?%", example)


def _choice(title: str, *choices: str) -> tuple[PlainValidator, WithJsonSchema]:
    parse = partial(_parse_choice, choices)
    return PlainValidator(partial(_read, "KV212", parse, choices[0])), _choice_schema(title, choices)


def _worded(title: str, parse: Callable[[str], str], example: str) -> tuple[PlainValidator, WithJsonSchema]:
    also: JsonSchemaValue = {"type": ["number", "boolean"]}
    return PlainValidator(partial(_read, "KV210", parse, example)), _schema(title, None, example, also=also)


FormatVersion = Annotated[
    int,
    PlainValidator(partial(_read, "KV212", _parse_format, "1")),
    WithJsonSchema({"title": "format", "const": 1, "examples": ["1"]}),
]
Name = Annotated[
    str,
    PlainValidator(partial(_read, "KV210", _parse_name, "prod-eu")),
    _schema("name", NAME_PATTERN, "prod-eu", also={"type": "integer", "minimum": 0}),
]
KeyName = Annotated[str, AfterValidator(_key_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$"})]
PercentileKey = Annotated[
    str,
    AfterValidator(_key_percentile),
    WithJsonSchema({"type": "string", "pattern": r"^(p[0-9]{1,2}(\.[0-9]{1,2})?|max)$"}),
]
Text = Annotated[str, *_worded("text", parse_line, "contract EU-114")]
PathText = Annotated[str, *_worded("path", parse_line, "base.yaml")]
ModelRef = Annotated[str, *_worded("model", parse_line, "llama-3.3-70b-instruct")]
GpuId = Annotated[str, *_worded("GPU", parse_line, "h100-sxm-80gb")]
EngineId = Annotated[str, *_worded("engine", parse_line, "vllm@0.24")]
PresetId = Annotated[
    str,
    PlainValidator(partial(_read, "KV210", _parse_name, "fp8")),
    _schema("KV preset", NAME_PATTERN, "fp8"),
]
AllowedRow = Annotated[str, *_worded("preset row", _parse_allowed_row, "nvfp4@0.24")]
Flag = Annotated[
    bool,
    PlainValidator(read_flag),
    WithJsonSchema({"title": "flag", "type": "boolean", "examples": ["true"]}),
]
Tokens = Annotated[
    int,
    PlainValidator(partial(_read, "KV201", units.parse_tokens, "6_000 or 8Ki")),
    _schema(
        "token count",
        _WHOLE + "(Ki|Mi)?",
        "8Ki",
        also={"type": "integer", "minimum": 1, "maximum": units.MAX_TOKENS},
    ),
]
Duration = Annotated[
    int,
    PlainValidator(partial(_read, "KV202", units.parse_duration_us, "800ms")),
    _schema("duration", _NUMBER + f" ?({'|'.join(units.DURATION_UNITS_US)})", "800ms"),
]
NetworkTime = Annotated[
    int,
    PlainValidator(partial(_read, "KV202", partial(units.parse_duration_us, may_be_zero=True), "90ms")),
    _schema("duration", _NUMBER + f" ?({'|'.join(units.DURATION_UNITS_US)})", "90ms"),
]
Money = Annotated[
    units.Money,
    PlainValidator(partial(_read, "KV203", units.parse_money, "$95_000")),
    _schema("money", "[$€£]" + _NUMBER, "$95_000"),
]
Price = Annotated[
    units.Price,
    PlainValidator(partial(_read, "KV203", units.parse_price, "$2.10/gpu/h")),
    _schema("price", "[$€£]" + _NUMBER + "/(gpu|node)/h", "$2.10/gpu/h"),
]
Rate = Annotated[
    Fraction,
    PlainValidator(partial(_read, "KV204", units.parse_rate, "18 req/s")),
    _schema("request rate", _NUMBER + " ?req/(s|min|h)", "18 req/s"),
]
QuietRate = Annotated[
    Fraction,
    PlainValidator(partial(_read, "KV204", partial(units.parse_rate, may_be_zero=True), "18 req/s")),
    _schema("request rate", _NUMBER + " ?req/(s|min|h)", "18 req/s"),
]
RequestsPerDay = Annotated[
    Fraction,
    PlainValidator(partial(_read, "KV204", units.parse_requests_per_day, "200_000/day")),
    _schema("requests a day", _NUMBER + "/(day|d)", "200_000/day"),
]
Power = Annotated[
    int,
    PlainValidator(partial(_read, "KV206", units.parse_power_mw, "60kW")),
    _schema("power", _NUMBER + " ?(mW|W|kW|MW)", "60kW"),
]
Nodes = Annotated[
    int,
    PlainValidator(partial(_read, "KV207", units.parse_nodes, "5 nodes")),
    _schema("nodes", _WHOLE + " nodes?", "5 nodes"),
]
PeriodSpans = Annotated[
    tuple[Span, ...], PlainValidator(_read_period), _schema("part of the week", None, "Mon-Fri 08:00-20:00")
]
TimeOfDay = Annotated[
    int,
    PlainValidator(partial(_read, "KV215", parse_time_of_day, "20:00")),
    _schema("time of day", "([01][0-9]|2[0-3]):[0-5][0-9]", "20:00"),
]
Growth = Annotated[
    tuple[int, ...] | int,
    PlainValidator(_read_growth),
    _schema("growth", None, "5%/mo", also={"type": "array", "items": {"type": "string"}}),
]
Months = Annotated[
    int,
    PlainValidator(partial(_read, "KV217", units.parse_months, "12mo")),
    _schema("months", _WHOLE + " ?(mo|y)", "12mo"),
]
LostNodes = Annotated[int | None, PlainValidator(_read_loss), _schema("nodes", f"({_WHOLE} nodes?|all)", "1 node")]
Share = Annotated[int, *_share(0, units.PPM, "0.5%")]
UtilizationShare = Annotated[int, *_share(1, units.PPM, "95%")]
HeadroomShare = Annotated[int, *_share(0, 990_000, "10%")]
Availability = Annotated[int, *_share(1, units.PPM, "97%")]
SpotConfidence = Annotated[int, *_share(units.PPM // 2, 999_999, "99%")]
Threshold = Annotated[int, *_share(0, 100 * units.PPM, "10%")]
Count = Annotated[int, *_count(0, units.MAX_NODES, "2")]
SpareZones = Annotated[int, *_count(0, 1, "1")]
PositiveCount = Annotated[int, *_count(1, units.MAX_NODES, "8")]
GpusPerNode = Annotated[int, *_count(1, 1_024, "8")]
BatchTokens = Annotated[int, *_count(1, units.MAX_TOKENS, "8192")]
Amount = Annotated[Fraction, *_decimal(units.parse_decimal, "192")]
Pue = Annotated[Fraction, *_decimal(_parse_pue, "1.25")]
Scale = Annotated[Fraction, *_decimal(_parse_scale, "2.5")]
MemoryUtilization = Annotated[Fraction, *_decimal(_parse_utilization, "0.92")]
Weights = Annotated[str, PlainValidator(_read_weights), _choice_schema("weight format", WEIGHTS)]
ParallelShape = Annotated[
    Parallel,
    PlainValidator(_read_parallel),
    _schema(
        "parallel shape",
        "tp[1-9][0-9]{0,3}(-pp[1-9][0-9]{0,3})?(-dp[1-9][0-9]{0,3})?(-dcp[1-9][0-9]{0,3})?(-ep)?",
        "tp4",
    ),
]
ReplicaMoney = Annotated[
    units.Money,
    PlainValidator(partial(_read, "KV203", units.parse_replica_money, "$50/replica")),
    _schema("money for a replica", "[$€£]" + _NUMBER + "/replica", "$50/replica"),
]
KeptField = Annotated[
    str,
    *_choice("kept value", "replicas", "weights", "parallel", "context_limit", "max_batch", "kv_preset"),
]
MemoryPerGpu = Annotated[
    int,
    PlainValidator(partial(_read, "KV214", _parse_per_gpu, "3GiB/gpu")),
    _schema("memory of a GPU", _NUMBER + f" ?({'|'.join(units.BYTE_UNITS)})/gpu", "3GiB/gpu"),
]
DraftMethod = Annotated[str, *_choice("draft", "mtp", "eagle", "ngram")]
DraftTokens = Annotated[int, *_count(1, 64, "3")]
TokensPerStep = Annotated[Fraction, *_decimal(_parse_tokens_per_step, "2.4")]
Increase = Annotated[
    int,
    PlainValidator(partial(_read, "KV205", units.parse_increase_ppm, "+20%")),
    _schema("increase", r"\+" + _NUMBER + " ?%", "+20%"),
]
Slowdown = Annotated[int, *_share(1, 100 * units.PPM, "12%")]
PrefixRouting = Annotated[str, *_choice("routing", "random", "prefix_aware")]
Confidence = Annotated[str, *_choice("confidence", "p50", "p90")]
LatencyProvider = Annotated[str, *_choice("provider", "roofline", "silicon")]
Policy = Annotated[str, *_choice("policy", "supported", "allow_published")]
ObjectiveName = Annotated[str, *_choice("objective", "cost", "gpus", "quality_loss")]
