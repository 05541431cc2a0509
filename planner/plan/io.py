"""Plan documents as JSON: canonical text, hash, reading with the format's rules."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.errors import Diagnostic, InputError
from planner.plan.layers import with_runs, without_runs
from planner.plan.types import FORMAT_VERSION, Plan

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MOST_BYTES = 256 * 2**20
"""Size of a plan file that is read; one of hundreds of deployments has a few megabytes."""

OUTSIDE_THE_HASH = ("hash", "run")
"""Keys that describe the run, not the plan."""


@cache
def _adapter() -> TypeAdapter[Plan]:
    from pydantic import TypeAdapter

    return TypeAdapter(Plan)


def to_tree(plan: Plan) -> dict[str, Any]:
    """The document as plain JSON values."""
    return with_runs(_adapter().dump_python(plan, mode="json"))


def digest(tree: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of everything but `hash` and `run`."""
    hashed = {key: value for key, value in tree.items() if key not in OUTSIDE_THE_HASH}
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def seal(plan: Plan) -> Plan:
    """The same plan with its hash."""
    return replace(plan, hash=digest(to_tree(plan)))


def to_json(plan: Plan) -> str:
    """The document as text: keys sorted, two spaces, one final newline."""
    return json.dumps(to_tree(plan), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def read_tree(path: str) -> dict[str, Any]:
    """The JSON object in a plan file; InputError with line and column where it is not one of ours."""
    try:
        file = Path(path)
        if file.exists() and not file.is_file():
            message = "cannot read the plan: it is not a regular file"
            raise InputError([Diagnostic(path, 0, 0, "KV801", message)])
        if file.stat().st_size > MOST_BYTES:
            message = f"cannot read the plan: it is larger than {MOST_BYTES:,} bytes"
            raise InputError([Diagnostic(path, 0, 0, "KV801", message)])
        text = file.read_bytes().decode("utf-8")
        tree = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique_keys)
    except OSError as error:
        raise InputError([Diagnostic(path, 0, 0, "KV801", f"cannot read the plan: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise InputError([Diagnostic(path, 0, 0, "KV801", "cannot read the plan: it is not UTF-8 text")]) from None
    except json.JSONDecodeError as error:
        message = f"this is not JSON: {error.msg}; write the file that `kvplan solve -o plan.json` made"
        raise InputError([Diagnostic(path, error.lineno, error.colno, "KV802", message)]) from None
    except RecursionError:
        raise InputError([Diagnostic(path, 1, 1, "KV802", "this is not a plan: it is nested too deeply")]) from None
    except ValueError as error:
        why = "it holds a number of thousands of digits" if "int_max_str_digits" in str(error) else str(error)
        raise InputError([Diagnostic(path, 1, 1, "KV802", f"this is not a plan: {why}")]) from None
    if not isinstance(tree, dict) or "format_version" not in tree:
        message = "this is not a plan: no `format_version`; write the file that `kvplan solve -o plan.json` made"
        raise InputError([Diagnostic(path, 1, 1, "KV803", message)])
    return tree


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return tree


def _no_constant(name: str) -> float:
    raise ValueError(f"the number {name} is not allowed")


def parse(tree: dict[str, Any], path: str) -> Plan:
    """A Plan from JSON values. Unknown keys of a later minor version are read over; another major is refused."""
    from pydantic import ValidationError

    version = tree.get("format_version")
    if not isinstance(version, str) or version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        message = f"plan format {version!r} is not understood: this kvplan reads {FORMAT_VERSION.split('.')[0]}.x"
        raise InputError([Diagnostic(path, 0, 0, "KV804", message)])
    try:
        return _adapter().validate_python(without_runs(tree))
    except (ValidationError, ValueError, ZeroDivisionError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            raise InputError([Diagnostic(path, 0, 0, "KV805", f"the plan cannot be read: {error}")]) from None
        found = []
        for problem in error.errors(include_url=False, include_input=True):
            where = ".".join(str(part) for part in problem["loc"])
            read = repr(problem["input"])[:60]
            found.append(Diagnostic(path, 0, 0, "KV805", f"{where}: {problem['msg']}; read {read}"))
        raise InputError(found) from None
