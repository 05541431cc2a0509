"""The committed JSON Schema of plans is the one of the records, and real plans keep it."""

import json

import jsonschema
import pytest

from planner import pipeline
from planner.plan.io import to_tree
from planner.plan.schema import SCHEMA_FILE, schema_text


def test_schema_file_is_current() -> None:
    """To fix: python -m planner.plan.schema."""
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("path", ["examples/01-first-plan/scenario.yaml", "examples/02-mixed-gpus/scenario.yaml"])
def test_plans_keep_the_schema(path: str, repository) -> None:
    """A validator that is not ours accepts real plans, and refuses one with a number turned into text."""
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    tree = to_tree(pipeline.plan(pipeline.load(repository / path)))
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(tree)
    name = next(iter(tree["deployments"]))
    tree["deployments"][name]["replicas"] = "many"
    assert not validator.is_valid(tree)
