"""What every test may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from planner.catalog.parallel import Parallel
from planner.catalog.types import Bottleneck, Refusal
from planner.performance.provider import StepModel, StepRequest
from planner.performance.step_model import step_model

WORDS = ("mixture-of-experts", "sliding-window", "recurrent layers")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the project."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def untimed() -> Iterator[None]:
    """A provider that times dense models with full attention on plain shapes, and refuses all else."""

    def refusing(request: StepRequest, *args: object, **kwargs: object) -> StepModel | Refusal:
        kind = (request.model.is_moe, request.model.is_windowed, request.model.has_state)
        if any(kind):
            return Refusal(Bottleneck.ARCHITECTURE, f"not timed yet: {WORDS[kind.index(True)]}")
        if request.shape != Parallel(request.shape.tp):
            return Refusal(Bottleneck.PARALLEL, f"not timed yet: {request.shape}", nearest=f"tp{request.shape.tp}")
        return step_model(request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planner.candidates.physics.step_model", refusing)
        yield
