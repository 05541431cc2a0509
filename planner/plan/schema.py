"""JSON Schema of the plan document, generated from its records: `python -m planner.plan.schema` renews the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from planner.plan.layers import schema_with_runs
from planner.plan.types import Plan

SCHEMA_FILE = Path(__file__).resolve().parent.parent / "schema" / "plan.v1.json"


def plan_schema() -> dict[str, Any]:
    """The schema. Readers must read over keys that they do not know: minor versions add some."""
    from pydantic import TypeAdapter

    schema = schema_with_runs(TypeAdapter(Plan).json_schema(mode="serialization"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "kvplan plan, format 1.x", **schema}


def schema_text() -> str:
    """The schema as it stands in the file."""
    return json.dumps(plan_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
