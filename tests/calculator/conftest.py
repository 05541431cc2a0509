"""Questions in a line, for all tests of the calculator."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from planner.calculator.inputs import Inputs, look_up
from planner.calculator.kv import kv_answer
from planner.calculator.query import KvQuery, read_query
from planner.calculator.types import KvAnswer


@pytest.fixture(scope="session")
def query() -> Callable[..., KvQuery]:
    """A question from flags, `gpu="h100-sxm-80gb"` meaning `--gpu h100-sxm-80gb`."""

    def build(model: str, **flags: str) -> KvQuery:
        bound = flags.pop("bound", "") == "yes"
        hybrid = flags.pop("hybrid", "yes") == "yes"
        texts = {name.replace("_", "-"): text for name, text in flags.items()}
        found, mistakes = read_query(texts, model=model, bound=bound, hybrid_manager=hybrid)
        assert not mistakes
        return found

    return build


@pytest.fixture(scope="session")
def ask(query: Callable[..., KvQuery]) -> Callable[..., KvAnswer]:
    """The answer to a question from flags."""
    return lambda model, **flags: kv_answer(query(model, **flags))


@pytest.fixture(scope="session")
def inputs(query: Callable[..., KvQuery]) -> Callable[..., Inputs]:
    """A question from flags with its names looked up."""

    def build(model: str, **flags: str) -> Inputs:
        found = look_up(query(model, **flags))
        assert isinstance(found, Inputs)
        return found

    return build
