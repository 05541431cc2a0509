"""`kvplan regret` through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SCENARIO = (
    "kvplan: 1\nname: choices\nmodels:\n  m: {capacity_table: m.csv}\ntraffic:\n  c: {model: m, peak: 5 req/s}\n"
    "inventory:\n  p: {gpu: l40s-48gb, region: r, available: 9 nodes, gpus_per_node: 1, price: $1/gpu/h, source: x}\n"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A scenario with one block."""
    (tmp_path / "m.csv").write_text("gpu,class,requests_per_s\nl40s-48gb,c,1\n")
    (tmp_path / "s.yaml").write_text(f"{SCENARIO}what_if:\n  busy: {{traffic.c.peak: 8 req/s}}\n")
    return tmp_path / "s.yaml"


def test_every_block_by_default(kvplan, file: Path) -> None:
    """Without names all blocks are taken; the choice stands below the table."""
    done = kvplan("regret", str(file))
    assert done.returncode == 0
    assert "choice" in done.stdout and "busy: regrets at most $2,190.00 a month" in done.stdout


def test_a_document_in_a_file(kvplan, file: Path) -> None:
    """`-o` writes the whole document, and stdout stays empty."""
    out = file.with_name("regret.json")
    done = kvplan("regret", str(file), "busy", "--format", "json", "-o", str(out))
    assert done.returncode == 0 and done.stdout == ""
    assert json.loads(out.read_text())["choice"] == "busy"


def test_no_block_and_no_such_block(kvplan, file: Path) -> None:
    """A file without blocks is a wrong command line, an unknown name a mistake with a suggestion."""
    done = kvplan("regret", str(file), "bsuy")
    assert done.returncode == 1 and "did you mean 'busy'?" in done.stderr
    file.write_text(SCENARIO)
    done = kvplan("regret", str(file))
    assert done.returncode == 2 and "what_if" in done.stderr
