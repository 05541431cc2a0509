"""Scenarios for the candidate table, loaded as users load them."""

from pathlib import Path

import pytest

from planner import pipeline
from planner.scenario.types import Scenario

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def prod() -> Scenario:
    """The production scenario."""
    return pipeline.load(ROOT / "scenarios" / "prod.yaml")


@pytest.fixture(scope="session")
def prod_table(prod):
    """Its candidate table."""
    return pipeline.table(prod)
