"""What every memory test needs: logs, models of the catalog and by hand, setups."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from planner.catalog.types import KvLayer, KvStorage, ModelFacts
from planner.memory.kv import KvSetup


def load(name: str) -> ModuleType:
    """A module of this folder, which is no package; the same object however often it is asked for."""
    if name not in sys.modules:
        spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


LOGS = load("start_up_logs")


@pytest.fixture(scope="session")
def facts() -> Callable[[str], ModelFacts]:
    """Loads a catalog model that must exist."""
    return LOGS.catalog_model


@pytest.fixture(scope="session")
def logs() -> list[Any]:
    """Every log of vLLM whose model is in the catalog."""
    return LOGS.read_logs()


@pytest.fixture(scope="session")
def log_rows() -> list[dict[str, Any]]:
    """Every log of both data files, as it stands there."""
    return LOGS.all_rows()


@pytest.fixture(scope="session")
def by_hand() -> Callable[..., ModelFacts]:
    """Makes a model of which only the KV layers matter: from the table of logged models, or from layers."""

    def make(layers: str | tuple[KvLayer, ...], **changes: Any) -> ModelFacts:
        if isinstance(layers, str):
            return LOGS.kv_model(LOGS.LAYERS[layers], layers, **changes)
        return LOGS.kv_model(layers, **changes)

    return make


@pytest.fixture(scope="session")
def kv_setup() -> Callable[..., KvSetup]:
    """Makes a setup of a model with the settings that most cases share."""
    return LOGS.setup_of


@pytest.fixture(scope="session")
def stored_as() -> Callable[[str], KvStorage]:
    """How a logged KV dtype stores a vector."""
    return LOGS.storage_of


@pytest.fixture(scope="session")
def rows_of() -> ModuleType:
    """What turns a row of the logs into a setup and its pools."""
    return LOGS


@pytest.fixture(scope="session")
def budgets() -> ModuleType:
    """What predicts the budget of a row of the logs."""
    return load("start_up_budgets")
