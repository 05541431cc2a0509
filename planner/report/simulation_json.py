"""A replay as JSON: the records as they are, times in seconds, shares in ppm."""

from __future__ import annotations

import json
from dataclasses import asdict

from planner.simulate.types import Simulation


def simulation_json(simulation: Simulation) -> str:
    """One document, keys sorted; `kept` says whether every promise held."""
    tree = {"kept": simulation.kept, **asdict(simulation)}
    return json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
