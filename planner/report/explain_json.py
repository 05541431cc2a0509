"""The answer of `kvplan explain` as one JSON document: keys as the records name them, sorted."""

from __future__ import annotations

import json
from dataclasses import asdict

from planner.explain.types import Answer


def explain_json(answer: Answer) -> str:
    """The document as text."""
    return json.dumps(asdict(answer), sort_keys=True, indent=2, ensure_ascii=False) + "\n"
