"""Every exported file of the page scenario equals the committed one."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def _load() -> ModuleType:
    spec = spec_from_file_location("export_goldens", Path(__file__).with_name("goldens.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


goldens = _load()


def test_files_equal_their_goldens() -> None:
    """Scripts, config files and manifests are the committed ones, line by line."""
    stored = {path.name: path.read_text(encoding="utf-8") for path in goldens.GOLDEN.iterdir()}
    fresh = dict(goldens.files())
    assert stored.keys() == fresh.keys()
    for name, text in fresh.items():
        assert text.splitlines() == stored[name].splitlines(), f"{name}: run `python tests/export/goldens.py`"
