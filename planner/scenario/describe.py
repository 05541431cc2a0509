"""Generates what people read about the language: the JSON Schema for editors and docs/scenario.md.

Both come from the classes of `planner.scenario.schema` and its blocks, with the docstring under each key as its
description. Write them again after a change of the language with `python -m planner.scenario.describe`; a
test fails when they are stale.
"""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from typing import TypeAlias

from planner.scenario import schema
from planner.scenario.blocks import fleet, inventory, models, reserve, rules, traffic
from planner.scenario.validate import LATER_WORDS
from planner.scenario.values import MAX_SHOWN_CHOICES
from planner.scenario.weights import WEIGHTS

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

_SOURCES = (schema, fleet, inventory, models, reserve, rules, traffic)

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = Path("planner/schema/scenario.v1.json")
MANUAL_FILE = Path("docs/scenario.md")
REGENERATE = "python -m planner.scenario.describe"

_INTRODUCTION = f"""# The scenario file

Generated from `planner/scenario/blocks` by `{REGENERATE}`; edit the docstrings there, not this page.

A scenario is one YAML file. Start it with this line and editors with a YAML language server complete and
check it:

```yaml
# yaml-language-server: $schema=../planner/schema/scenario.v1.json
```

**Rules.** Maps are keyed by name. Every value with a dimension carries its unit; token counts are plain
integers or `Ki` and `Mi`. Digits may be grouped by thousands with `_`. Where the type says *or a list*, one
value is fixed and a list is a choice for the planner. A month is 730 h. All money of one scenario is in one
currency ($, € or £). Paths are relative to the file that names them. Anchors, aliases, merge keys, tags and
duplicate keys are refused.

**Layers.** `extends: base.yaml` merges one parent below the file, key by key; lists and single values are
replaced. `what_if` blocks and `--set PATH=VALUE` override single values on top. In a path `*` matches one
level and sets only where the key already stands; a path without `*` may also add a key, but no new model,
class, pool, limit, guardrail or running deployment.

**Mistakes** are reported all at once as `file:line:col: error: message [KVnnn]`; docs/errors.md explains
the codes.
"""

_TYPES = """## Types

| type | written as | meaning |
| --- | --- | --- |
| whole number | `8`, `6_000` | without quotes |
| decimal number | `0.92`, `192` | without quotes, without exponent |
| token count | `6_000`, `8Ki`, `1Mi` | Ki = 1,024, Mi = 1,048,576 |
| duration | `800ms`, `6h`, `3mo` | us, ms, s, min, h, d, w, mo (730 h), y (8,760 h) |
| money | `$95_000` | $, € or £ |
| price | `$2.10/gpu/h`, `$16.80/node/h` | for an hour |
| money for a replica | `$50/replica` | once |
| request rate | `18 req/s` | req/s, req/min, req/h |
| requests a day | `200_000/day` | |
| share | `0.5%` | no finer than 0.0001% |
| increase | `+20%` | above what is written |
| growth | `5%/mo`, `[100%, 105%]` | a month; or shares of the written rates, one a month |
| months | `12mo`, `1y` | whole months, up to 36 |
| part of the week | `Mon-Fri 08:00-20:00`, `rest` | an end at or before its start is on the next day |
| power | `60kW` | mW, W, kW, MW |
| memory of a GPU | `3GiB/gpu` | GiB, MiB, ... are powers of 1,024; GB, MB, ... of 1,000 |
| weight format | `bf16` | {weights} |
| parallel shape | `tp4`, `tp4-pp2`, `tp8-dp2-ep` | tpN[-ppN][-dpN][-dcpN][-ep], in this order |
| nodes | `5 nodes` | with the word |
| flag | `true`, `false` | without quotes |
| name | `prod-eu` | lower-case letters, digits, `-`, `.` |
"""


def scenario_schema() -> dict[str, Json]:
    """The JSON Schema of a scenario file."""
    described: dict[str, Json] = schema.ScenarioBlock.model_json_schema()
    docs = _key_docs()
    blocks = dict(_map(described.pop("$defs")))
    for name, block in [*blocks.items(), ("ScenarioBlock", described)]:
        for key, item in _map(_map(block)["properties"]).items():
            entry = _map(item)
            if "$ref" in entry:
                entry["allOf"] = [{"$ref": entry.pop("$ref")}]
            entry.pop("default", None)
            _close_maps(entry)
            entry["description"] = docs[name, key]
            _map(_map(block)["properties"])[key] = _without_null(entry)
    needed = described.pop("required")
    described |= {
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": needed},
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kvplan scenario, version 1",
        "$defs": {name: blocks[name] for name in sorted(blocks)},
    }
    return described


def scenario_manual() -> str:
    """The manual page of the scenario file, in Markdown."""
    described = scenario_schema()
    blocks = _map(described["$defs"])
    weights = ", ".join(f"`{name}`" for name in WEIGHTS)
    parts = [_INTRODUCTION, _TYPES.replace("{weights}", weights), _section("Top level", "", described)]
    parts += [_section(title, path, _map(blocks[name])) for title, path, name in _SECTIONS]
    words = "\n".join(f"- `{word}`: {hint}" for word, hint in LATER_WORDS.items())
    parts.append(f"## Words for later\n\nRefused by name; what to do until they are planned:\n\n{words}\n")
    return "\n".join(parts)


_SECTIONS = (
    ("Models", "models.NAME", "ModelBlock"),
    ("Batch sizes", "models.NAME.max_batch", "BatchRange"),
    ("Engine settings", "models.NAME.engine_args", "EngineArgsBlock"),
    ("Speculative decoding", "models.NAME.speculative", "SpeculativeBlock"),
    ("Adjustments", "models.NAME.adjust", "AdjustBlock"),
    ("Replicas", "models.NAME.replicas", "ReplicaRange"),
    ("Traffic", "traffic.NAME", "ClassBlock"),
    ("Part of a trace", "traffic.NAME.window", "WindowBlock"),
    ("Prefix cache", "traffic.NAME.prefix", "PrefixBlock"),
    ("Rates of a period", "traffic.NAME.rate.PERIOD", "PeriodRateBlock"),
    ("After a loss", "traffic.NAME.when_degraded", "DegradedBlock"),
    ("Quality", "traffic.NAME.quality", "QualityBlock"),
    ("Promises", "traffic.NAME.slo", "SloBlock"),
    ("Inventory", "inventory.NAME", "PoolBlock"),
    ("Running fleet", "current.NAME", "RunningBlock"),
    ("Change", "change", "ChangeBlock"),
    ("Spot nodes", "inventory.NAME.spot", "SpotBlock"),
    ("Calendar", "calendar", "CalendarBlock"),
    ("Limits", "limits.NAME", "LimitBlock"),
    ("Reserve", "reserve", "ReserveBlock"),
    ("Robust", "robust", "RobustBlock"),
    ("Spare", "reserve.spare", "SpareBlock"),
    ("Compression", "compression", "CompressionBlock"),
    ("Latencies", "performance", "PerformanceBlock"),
    ("Budget", "budget", "BudgetBlock"),
    ("Guardrails", "guardrails.NAME", "GuardrailBlock"),
)


def _section(title: str, path: str, block: dict[str, Json]) -> str:
    """One block as a table of its keys."""
    required = _list(block.get("required") or _map(block.get("then") or {}).get("required") or [])
    rows = []
    for key, item in _map(block["properties"]).items():
        need = "required" if key in required else ""
        rows.append(f"| `{key}` | {_type_text(_map(item))} | {need} | {_map(item)['description']} |")
    head = f"## {title}" + (f": `{path}`" if path else "")
    text = " ".join(str(block.get("description", "")).split())
    table = ["| key | type | | meaning |", "| --- | --- | --- | --- |", *rows]
    return "\n".join([head, "", text, "", *table, ""])


def _type_text(item: dict[str, Json]) -> str:
    """The type of a key in words."""
    if item.get("enum") and len(_list(item["enum"])) <= MAX_SHOWN_CHOICES:
        return " or ".join(f"`{choice}`" for choice in _list(item["enum"]))
    if "$ref" in item:
        return "map"
    if "examples" in item:
        return f"{item['title']}, like `{_list(item['examples'])[0]}`"
    if item.get("type") == "array":
        return f"list of {_map(item['items'])['title']}"
    if item.get("type") == "object":
        return "map by name"
    choices = [_map(choice) for choice in _list(item.get("anyOf") or item.get("allOf") or [])]
    if len(choices) == 2 and choices[1].get("type") == "array":
        return f"{_type_text(choices[0])}, or a list"
    return "map" if "$ref" in choices[0] else " or ".join(_type_text(choice) for choice in choices)


def _without_null(entry: dict[str, Json]) -> dict[str, Json]:
    """The schema of an optional key without its null choice: a key is written with a value or left out."""
    choices = [choice for choice in _list(entry.get("anyOf") or []) if choice != {"type": "null"}]
    if not choices or "examples" in entry:
        return entry
    rest = {key: value for key, value in entry.items() if key not in ("anyOf", "title")}
    if len(choices) == 1 and "$ref" not in _map(choices[0]):
        return _map(choices[0]) | rest
    rest["anyOf" if len(choices) > 1 else "allOf"] = choices
    return rest


def _close_maps(entry: dict[str, Json]) -> None:
    """Keys that are no names are mistakes, in maps by name too."""
    for item in (entry, *(_map(choice) for choice in _list(entry.get("anyOf") or []))):
        if "patternProperties" in item:
            item["additionalProperties"] = False


def _key_docs() -> dict[tuple[str, str], str]:
    """(class, key) -> the docstring under the key."""
    docs: dict[tuple[str, str], str] = {}
    classes = [block for module in _SOURCES for block in ast.parse(inspect.getsource(module)).body]
    for block in classes:
        if not isinstance(block, ast.ClassDef):
            continue
        for item, after in zip(block.body, block.body[1:], strict=False):
            if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                docs[block.name, item.target.id] = " ".join(str(after.value.value).split())
    return docs


def _map(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise TypeError(f"expected a map in the JSON Schema, found {value!r}")
    return value


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list in the JSON Schema, found {value!r}")
    return value


def schema_text() -> str:
    """The content of the JSON Schema file."""
    return json.dumps(scenario_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes both files below the root of the source tree."""
    (ROOT / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    (ROOT / MANUAL_FILE).write_text(scenario_manual(), encoding="utf-8")


if __name__ == "__main__":
    main()
