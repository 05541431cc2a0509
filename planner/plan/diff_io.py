"""Diff documents as JSON: canonical text, reading with the format's rules, and their JSON Schema.

`python -m planner.plan.diff_io` renews the schema file.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.errors import Diagnostic, InputError
from planner.plan.diff_types import DIFF_FORMAT_VERSION, Diff, WhatIf

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_FILE = Path(__file__).resolve().parent.parent / "schema" / "diff.v1.json"


@cache
def _adapter() -> TypeAdapter[Diff | WhatIf]:
    from pydantic import TypeAdapter

    return TypeAdapter(Diff | WhatIf)


def diff_tree(document: Diff | WhatIf) -> dict[str, Any]:
    """The document as plain JSON values."""
    tree: dict[str, Any] = _adapter().dump_python(document, mode="json")
    return tree


def diff_json(document: Diff | WhatIf) -> str:
    """The document as text: keys sorted, two spaces, one final newline."""
    return json.dumps(diff_tree(document), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def is_diff(tree: dict[str, Any]) -> bool:
    """Whether a JSON object is a diff or what-if rather than a plan: only those have two sides or cases."""
    return "head" in tree or "cases" in tree


def parse_diff(tree: dict[str, Any], path: str) -> Diff | WhatIf:
    """A diff or what-if from JSON values. Unknown keys of a later minor version are read over; another major is
    refused.

    Raises:
        InputError: another format version, or parts that are missing or wrong.
    """
    from pydantic import TypeAdapter, ValidationError

    version = tree.get("format_version")
    if not isinstance(version, str) or version.split(".")[0] != DIFF_FORMAT_VERSION.split(".")[0]:
        message = f"diff format {version!r} is not understood: this kvplan reads {DIFF_FORMAT_VERSION.split('.')[0]}.x"
        raise InputError([Diagnostic(path, 0, 0, "KV804", message)])
    kind: type[Diff] | type[WhatIf] = WhatIf if "cases" in tree else Diff
    try:
        document: Diff | WhatIf = TypeAdapter(kind).validate_python(tree)
    except ValidationError as error:
        found = []
        for problem in error.errors(include_url=False, include_input=True):
            where = ".".join(str(part) for part in problem["loc"])
            found.append(Diagnostic(path, 0, 0, "KV805", f"{where}: {problem['msg']}; read {problem['input']!r:.60}"))
        raise InputError(found) from None
    except (ZeroDivisionError, RecursionError) as error:
        raise InputError([Diagnostic(path, 0, 0, "KV805", f"the diff cannot be read: {error}")]) from None
    return document


def diff_schema() -> dict[str, Any]:
    """The schema. Readers must read over keys that they do not know: minor versions add some."""
    schema = _adapter().json_schema(mode="serialization")
    title = "kvplan diff and what-if, format 1.x"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}


def diff_schema_text() -> str:
    """The schema as it stands in the file."""
    return json.dumps(diff_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(diff_schema_text(), encoding="utf-8")
