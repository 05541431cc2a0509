"""The answer of `kvplan explain` as one JSON document: keys as the records name them, sorted.

`conflicts` has the scenario paths of each conflict, `conflict_details` their values, places and texts in that order.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from planner.explain.types import Answer


def explain_json(answer: Answer) -> str:
    """The document as text."""
    tree = asdict(answer)
    details = tree["conflicts"]
    tree["conflicts"] = [detail.pop("paths") for detail in details]
    tree["conflict_details"] = details
    return json.dumps(tree, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
