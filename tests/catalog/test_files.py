"""Data files: the version of the catalog, and start-up without heavy modules."""

from __future__ import annotations

import re
import subprocess
import sys

from planner.catalog import catalog_version
from planner.catalog.files import model_paths, read_json_object


def test_version_is_a_date_and_a_digest():
    """The version names the day of collection and the SHA-256 of the data."""
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}/[0-9a-f]{64}", catalog_version())


def test_every_model_file_names_its_source():
    """Each model file is readable JSON with a source."""
    for path in model_paths().values():
        tree = read_json_object(path)
        assert isinstance(tree, dict)
        assert tree.get("source"), path.name


def test_missing_file_is_a_sentence(tmp_path):
    """A file that cannot be opened gives a reason."""
    assert "cannot be read" in str(read_json_object(tmp_path / "none.json"))


def test_import_loads_nothing_heavy():
    """Importing catalog and memory loads neither numpy nor pydantic nor any solver."""
    code = (
        "import sys, planner.catalog, planner.memory.pool\n"
        "heavy = {'numpy', 'scipy', 'pandas', 'torch', 'ortools', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
