"""Speed of a replay: an hour of the Azure conversation trace against ten replicas, in CPU seconds on one core.

python tests/bench/simulate.py [--replicas N] [--scale X] [--format table|json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from planner import pipeline
from planner.scenario.types import ReplicaLimits
from planner.simulate.session import Question

ROOT = Path(__file__).parents[2]
TRACE = ROOT / "scenarios/traces/azure_llm_2023_conv.csv.gz"
SCENARIO = ROOT / "examples/01-first-plan/scenario.yaml"
LIMIT_S = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints seconds, requests and steps; 1 where the replay takes longer than it may."""
    parser = argparse.ArgumentParser(description="Seconds to replay an hour of requests.")
    parser.add_argument("--replicas", type=int, default=10)
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the traffic")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    options = parser.parse_args(arguments)
    scenario = pipeline.load(SCENARIO, sets=["models.helpdesk.context_limit=16Ki"])
    pools = {name: replace(pool, available_nodes=100) for name, pool in scenario.inventory.items()}
    models = {
        name: replace(model, replicas=ReplicaLimits(options.replicas, options.replicas))
        for name, model in scenario.models.items()
    }
    plan = pipeline.plan(replace(scenario, inventory=pools, models=models))
    began = time.process_time()
    answer = pipeline.simulate(plan, Question({"questions": str(TRACE)}, scale=options.scale))
    seconds = time.process_time() - began
    (result,) = answer.simulation.replays[0].classes
    steps = sum(site.steps for site in answer.simulation.replays[0].sites)
    figures = {
        "replicas": options.replicas,
        "requests": result.requests,
        "simulated_s": round(result.duration_s),
        "steps": steps,
        "cpu_s": round(seconds, 2),
        "us_a_step": round(seconds / steps * 1e6, 2),
        "limit_s": LIMIT_S,
    }
    if options.format == "json":
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    else:
        sys.stdout.write("".join(f"{name:12} {value}\n" for name, value in figures.items()))
    return 0 if seconds <= LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
