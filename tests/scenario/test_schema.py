"""Tests of what is generated from the schema, and that editors agree with the reader.

The JSON Schema is checked by a small validator of the keywords that it uses (JSON Schema 2020-12, validation
vocabulary), on values as a YAML 1.2 editor reads them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from planner.scenario import describe
from planner.scenario.validate import LATER_WORDS

Schema: TypeAlias = dict[str, Any]
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted((ROOT / "tests" / "data" / "scenarios").glob("*.yaml"))
SHIPPED = sorted((ROOT / "scenarios").glob("*.yaml"))
KNOWN = {
    *(
        "$schema",
        "$defs",
        "$ref",
        "title",
        "description",
        "examples",
        "type",
        "pattern",
        "minimum",
        "maximum",
    ),
    *("enum", "const", "anyOf", "allOf", "if", "then", "not", "required", "properties", "patternProperties"),
    *("additionalProperties", "minProperties", "items", "minItems", "uniqueItems"),
}


def editor_value(node: yaml.Node) -> Json:
    """A YAML node as an editor reads it: YAML 1.2, so that 6_000 and 12:30 are texts."""
    if isinstance(node, yaml.MappingNode):
        return {key.value: editor_value(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [editor_value(item) for item in node.value]
    text = node.value
    if getattr(node, "style", None) in (None, ""):
        if text in ("true", "false"):
            return bool(text == "true")
        if re.fullmatch(r"[-+]?[0-9]+", text):
            return int(text)
        if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
            return float(text)
        if text in ("", "~", "null"):
            return None
    return str(text)


TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def is_type(value: Json, name: str) -> bool:
    """Whether a value has a JSON type; booleans are no numbers."""
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def is_valid(value: Json, schema: Schema, root: Schema) -> bool:
    """Whether a value satisfies a schema; keywords that this validator does not know fail the test."""
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    if "$ref" in schema and not is_valid(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root):
        return False
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    checks = [
        not names or any(is_type(value, name) for name in names),
        "enum" not in schema or value in schema["enum"],
        "const" not in schema or value == schema["const"],
        "anyOf" not in schema or any(is_valid(value, item, root) for item in schema["anyOf"]),
        all(is_valid(value, item, root) for item in schema.get("allOf", [])),
        "not" not in schema or not is_valid(value, schema["not"], root),
        "if" not in schema or not is_valid(value, schema["if"], root) or is_valid(value, schema["then"], root),
    ]
    if isinstance(value, str):
        checks.append(re.search(schema.get("pattern", ""), value) is not None)
    if isinstance(value, int | float) and not isinstance(value, bool):
        checks.append(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if isinstance(value, list):
        checks.append(len(value) >= schema.get("minItems", 0))
        checks.append(not schema.get("uniqueItems") or len({str(item) for item in value}) == len(value))
        checks += [is_valid(item, schema.get("items", {}), root) for item in value]
    if isinstance(value, dict):
        checks.append(set(schema.get("required", [])) <= set(value))
        checks.append(len(value) >= schema.get("minProperties", 0))
        checks += [is_valid_entry(key, item, schema, root) for key, item in value.items()]
    return all(checks)


def is_valid_entry(key: str, value: Json, schema: Schema, root: Schema) -> bool:
    """Whether one key of a map satisfies the schema of the map."""
    found = [schema["properties"][key]] if key in schema.get("properties", {}) else []
    found += [item for pattern, item in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
    if not found and schema.get("additionalProperties") is False:
        return False
    return all(is_valid(value, item, root) for item in found)


@pytest.fixture(scope="module")
def schema() -> Schema:
    """The JSON Schema as it is committed."""
    loaded = json.loads((ROOT / describe.SCHEMA_FILE).read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def read(path: Path) -> Json:
    """A file as an editor reads it."""
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    assert node is not None
    return editor_value(node)


@pytest.mark.parametrize(
    ("file", "text"),
    [(describe.SCHEMA_FILE, describe.schema_text), (describe.MANUAL_FILE, describe.scenario_manual)],
)
def test_generated_files_are_fresh(file: Path, text: object) -> None:
    """Tests that the JSON Schema and the manual say what the classes say."""
    assert callable(text)
    assert (ROOT / file).read_text(encoding="utf-8") == text(), f"{file} is stale; run: {describe.REGENERATE}"


@pytest.mark.parametrize("path", SCENARIOS + SHIPPED, ids=lambda path: path.name)
def test_editors_accept_good_scenarios(path: Path, schema: Schema) -> None:
    """Tests that no scenario which the reader accepts is underlined in an editor."""
    assert is_valid(read(path), schema, schema)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "tokens-8k",
            "rate-without-unit",
            "duration-ambiguous-m",
            "price-without-unit",
            "nodes-without-word",
        ),
        *(
            "unknown-keys",
            "missing-source",
            "list-empty",
            "list-duplicates-text",
            "weights-later",
            "parallel-later",
        ),
        *(
            "value-instead-of-map",
            "percentile-key-unknown",
            "name-upper-case",
            "format-2",
            "everything-missing",
        ),
        *("missing-physics-keys", "flag-yes", "integer-zero", "empty-blocks", "objective", "trace-window-empty"),
    ],
)
def test_editors_refuse_bad_scenarios(name: str, schema: Schema, tmp_path: Path) -> None:
    """Tests that an editor sees the mistakes that a schema can see."""
    path = ROOT / "tests" / "data" / "bad" / f"{name}.yaml"
    if name == "list-duplicates-text":
        path = tmp_path / "duplicates.yaml"
        path.write_text(
            (ROOT / "tests" / "data" / "scenarios" / "small.yaml")
            .read_text()
            .replace("kv_presets: bf16", "kv_presets: [bf16, bf16]")
        )
    assert not is_valid(read(path), schema, schema)


def test_a_child_may_leave_out_what_its_parent_has(schema: Schema) -> None:
    """Tests that files which extend another one need not be whole."""
    assert is_valid({"extends": "base.yaml", "name": "child"}, schema, schema)
    assert not is_valid({"name": "child"}, schema, schema)


def test_every_key_is_described(schema: Schema) -> None:
    """Tests that each key of each block has a docstring, and the manual a row for it."""
    manual = (ROOT / describe.MANUAL_FILE).read_text(encoding="utf-8")
    for block in [schema, *schema["$defs"].values()]:
        for key, item in block["properties"].items():
            assert item["description"].endswith("."), key
            assert f"| `{key}` |" in manual


def test_every_word_for_later_is_in_the_manual() -> None:
    """Tests that refused words are documented."""
    manual = (ROOT / describe.MANUAL_FILE).read_text(encoding="utf-8")
    assert all(f"- `{word}`: " in manual for word in LATER_WORDS)
