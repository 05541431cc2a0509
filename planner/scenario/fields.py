"""The scalar types of the scenario language: how the text of one value is read, and how editors see it.

Each type is an annotated Python type: a reader that takes a `TextNode` (never a Python number: YAML's
guesses are not used), and the JSON Schema that lets an editor complete and check the same value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from planner import units
from planner.scenario.calendar import Span, parse_time_of_day
from planner.scenario.types import Parallel
from planner.scenario.values import (
    NAME_PATTERN,
    as_list,
    distinct,
    key_name,
    key_percentile,
    parse_allowed_row,
    parse_choice,
    parse_format,
    parse_line,
    parse_name,
    parse_per_gpu,
    parse_pue,
    parse_scale,
    parse_tokens_per_step,
    parse_utilization,
    read,
    read_flag,
    read_growth,
    read_loss,
    read_parallel,
    read_period,
    read_plain,
    read_weights,
)
from planner.scenario.weights import WEIGHTS


@dataclass(frozen=True)
class _OneOrManySchema:
    """Editors accept one value or a list of different values."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        items = handler(schema)["items"]
        return {"anyOf": [items, {"type": "array", "items": items, "minItems": 1, "uniqueItems": True}]}


ONE_OR_MANY = (BeforeValidator(as_list), AfterValidator(distinct), _OneOrManySchema())
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
        PlainValidator(partial(read_plain, "KV208", parse, example)),
        _schema("whole number", _WHOLE, example, also=number),
    )


def _decimal(parse: Callable[[str], Fraction], example: str) -> tuple[PlainValidator, WithJsonSchema]:
    return (
        PlainValidator(partial(read_plain, "KV209", parse, example)),
        _schema("decimal number", _NUMBER, example, also={"type": "number", "minimum": 0}),
    )


def _share(low_ppm: int, high_ppm: int, example: str) -> tuple[PlainValidator, WithJsonSchema]:
    parse = partial(units.parse_share_ppm, low_ppm=low_ppm, high_ppm=high_ppm)
    return PlainValidator(partial(read, "KV205", parse, example)), _schema("share", _NUMBER + " ?%", example)


def _choice(title: str, *choices: str) -> tuple[PlainValidator, WithJsonSchema]:
    parse = partial(parse_choice, choices)
    return PlainValidator(partial(read, "KV212", parse, choices[0])), _choice_schema(title, choices)


def _worded(title: str, parse: Callable[[str], str], example: str) -> tuple[PlainValidator, WithJsonSchema]:
    also: JsonSchemaValue = {"type": ["number", "boolean"]}
    return PlainValidator(partial(read, "KV210", parse, example)), _schema(title, None, example, also=also)


FormatVersion = Annotated[
    int,
    PlainValidator(partial(read, "KV212", parse_format, "1")),
    WithJsonSchema({"title": "format", "const": 1, "examples": ["1"]}),
]
Name = Annotated[
    str,
    PlainValidator(partial(read, "KV210", parse_name, "prod-eu")),
    _schema("name", NAME_PATTERN, "prod-eu", also={"type": "integer", "minimum": 0}),
]
KeyName = Annotated[str, AfterValidator(key_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$"})]
PercentileKey = Annotated[
    str,
    AfterValidator(key_percentile),
    WithJsonSchema({"type": "string", "pattern": r"^(p[0-9]{1,2}(\.[0-9]{1,2})?|max)$"}),
]
Text = Annotated[str, *_worded("text", parse_line, "contract EU-114")]
PathText = Annotated[str, *_worded("path", parse_line, "base.yaml")]
ModelRef = Annotated[str, *_worded("model", parse_line, "llama-3.3-70b-instruct")]
GpuId = Annotated[str, *_worded("GPU", parse_line, "h100-sxm-80gb")]
EngineId = Annotated[str, *_worded("engine", parse_line, "vllm@0.24")]
PresetId = Annotated[
    str,
    PlainValidator(partial(read, "KV210", parse_name, "fp8")),
    _schema("KV preset", NAME_PATTERN, "fp8"),
]
AllowedRow = Annotated[str, *_worded("preset row", parse_allowed_row, "nvfp4@0.24")]
Flag = Annotated[
    bool,
    PlainValidator(read_flag),
    WithJsonSchema({"title": "flag", "type": "boolean", "examples": ["true"]}),
]
Tokens = Annotated[
    int,
    PlainValidator(partial(read, "KV201", units.parse_tokens, "6_000 or 8Ki")),
    _schema(
        "token count",
        _WHOLE + "(Ki|Mi)?",
        "8Ki",
        also={"type": "integer", "minimum": 1, "maximum": units.MAX_TOKENS},
    ),
]
Duration = Annotated[
    int,
    PlainValidator(partial(read, "KV202", units.parse_duration_us, "800ms")),
    _schema("duration", _NUMBER + f" ?({'|'.join(units.DURATION_UNITS_US)})", "800ms"),
]
NetworkTime = Annotated[
    int,
    PlainValidator(partial(read, "KV202", partial(units.parse_duration_us, may_be_zero=True), "90ms")),
    _schema("duration", _NUMBER + f" ?({'|'.join(units.DURATION_UNITS_US)})", "90ms"),
]
Money = Annotated[
    units.Money,
    PlainValidator(partial(read, "KV203", units.parse_money, "$95_000")),
    _schema("money", "[$€£]" + _NUMBER, "$95_000"),
]
Price = Annotated[
    units.Price,
    PlainValidator(partial(read, "KV203", units.parse_price, "$2.10/gpu/h")),
    _schema("price", "[$€£]" + _NUMBER + "/(gpu|node)/h", "$2.10/gpu/h"),
]
Rate = Annotated[
    Fraction,
    PlainValidator(partial(read, "KV204", units.parse_rate, "18 req/s")),
    _schema("request rate", _NUMBER + " ?req/(s|min|h)", "18 req/s"),
]
QuietRate = Annotated[
    Fraction,
    PlainValidator(partial(read, "KV204", partial(units.parse_rate, may_be_zero=True), "18 req/s")),
    _schema("request rate", _NUMBER + " ?req/(s|min|h)", "18 req/s"),
]
RequestsPerDay = Annotated[
    Fraction,
    PlainValidator(partial(read, "KV204", units.parse_requests_per_day, "200_000/day")),
    _schema("requests a day", _NUMBER + "/(day|d)", "200_000/day"),
]
Power = Annotated[
    int,
    PlainValidator(partial(read, "KV206", units.parse_power_mw, "60kW")),
    _schema("power", _NUMBER + " ?(mW|W|kW|MW)", "60kW"),
]
Nodes = Annotated[
    int,
    PlainValidator(partial(read, "KV207", units.parse_nodes, "5 nodes")),
    _schema("nodes", _WHOLE + " nodes?", "5 nodes"),
]
PeriodSpans = Annotated[
    tuple[Span, ...], PlainValidator(read_period), _schema("part of the week", None, "Mon-Fri 08:00-20:00")
]
TimeOfDay = Annotated[
    int,
    PlainValidator(partial(read, "KV215", parse_time_of_day, "20:00")),
    _schema("time of day", "([01][0-9]|2[0-3]):[0-5][0-9]", "20:00"),
]
Growth = Annotated[
    tuple[int, ...] | int,
    PlainValidator(read_growth),
    _schema("growth", None, "5%/mo", also={"type": "array", "items": {"type": "string"}}),
]
Months = Annotated[
    int,
    PlainValidator(partial(read, "KV217", units.parse_months, "12mo")),
    _schema("months", _WHOLE + " ?(mo|y)", "12mo"),
]
LostNodes = Annotated[int | None, PlainValidator(read_loss), _schema("nodes", f"({_WHOLE} nodes?|all)", "1 node")]
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
Pue = Annotated[Fraction, *_decimal(parse_pue, "1.25")]
Scale = Annotated[Fraction, *_decimal(parse_scale, "2.5")]
MemoryUtilization = Annotated[Fraction, *_decimal(parse_utilization, "0.92")]
Weights = Annotated[str, PlainValidator(read_weights), _choice_schema("weight format", WEIGHTS)]
ParallelShape = Annotated[
    Parallel,
    PlainValidator(read_parallel),
    _schema(
        "parallel shape",
        "tp[1-9][0-9]{0,3}(-pp[1-9][0-9]{0,3})?(-dp[1-9][0-9]{0,3})?(-dcp[1-9][0-9]{0,3})?(-ep)?",
        "tp4",
    ),
]
ReplicaMoney = Annotated[
    units.Money,
    PlainValidator(partial(read, "KV203", units.parse_replica_money, "$50/replica")),
    _schema("money for a replica", "[$€£]" + _NUMBER + "/replica", "$50/replica"),
]
KeptField = Annotated[
    str,
    *_choice("kept value", "replicas", "weights", "parallel", "context_limit", "max_batch", "kv_preset"),
]
MemoryPerGpu = Annotated[
    int,
    PlainValidator(partial(read, "KV214", parse_per_gpu, "3GiB/gpu")),
    _schema("memory of a GPU", _NUMBER + f" ?({'|'.join(units.BYTE_UNITS)})/gpu", "3GiB/gpu"),
]
DraftMethod = Annotated[str, *_choice("draft", "mtp", "eagle", "ngram")]
DraftTokens = Annotated[int, *_count(1, 64, "3")]
TokensPerStep = Annotated[Fraction, *_decimal(parse_tokens_per_step, "2.4")]
Increase = Annotated[
    int,
    PlainValidator(partial(read, "KV205", units.parse_increase_ppm, "+20%")),
    _schema("increase", r"\+" + _NUMBER + " ?%", "+20%"),
]
Slowdown = Annotated[int, *_share(1, 100 * units.PPM, "12%")]
PrefixRouting = Annotated[str, *_choice("routing", "random", "prefix_aware")]
Confidence = Annotated[str, *_choice("confidence", "p50", "p90")]
LatencyProvider = Annotated[str, *_choice("provider", "roofline", "silicon")]
Policy = Annotated[str, *_choice("policy", "supported", "allow_published")]
ObjectiveName = Annotated[str, *_choice("objective", "cost", "gpus", "quality_loss")]
