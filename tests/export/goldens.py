"""The files that tests/export/test_goldens.py compares: `python tests/export/goldens.py` renews them.

The plan comes from tests/data/scenarios/page.yaml, solved once; what a run alone knows (version, hash) is fixed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.plan.types import Plan

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "tests/data/scenarios/page.yaml"
GOLDEN = Path(__file__).with_name("golden")


@cache
def solved() -> Plan:
    """The plan without what changes from run to run."""
    from planner import pipeline

    plan = pipeline.plan(pipeline.load(SCENARIO), None, SCENARIO.name)
    return replace(plan, hash="sha256:" + "0" * 64, run=replace(plan.run, kvplan="0.0.0"))


def files() -> Iterator[tuple[str, str]]:
    """(file name, text) of every golden."""
    from planner.export.kubernetes import manifests
    from planner.export.scripts import config_file, shell_script
    from planner.export.serving import Options, servings

    plan, options = solved(), Options(model_paths={"helpdesk": "/models/llama-3.1-8b"}, namespace="inference")
    found = servings(plan, options, engine="vllm", source="plan.json")
    script = shell_script(plan, found, options)
    yield f"vllm-{script.name}", script.text
    config = config_file(plan, found[0], options)
    yield f"vllm-{config.name}", config.text
    for file in manifests(plan, found, options, "plan.json"):
        yield f"kubernetes-{file.name}", file.text


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    GOLDEN.mkdir(exist_ok=True)
    for stale in GOLDEN.iterdir():
        stale.unlink()
    for name, text in files():
        GOLDEN.joinpath(name).write_text(text, encoding="utf-8")
