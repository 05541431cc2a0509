"""docs/memory.md and docs/memory-accuracy.md say what the code computes."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def _load(path: str) -> ModuleType:
    spec = spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def accuracy() -> str:
    """The committed page."""
    return (ROOT / "docs/memory-accuracy.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def memory() -> str:
    """The committed page of formulas."""
    return (ROOT / "docs/memory.md").read_text(encoding="utf-8")


def test_the_tables_of_the_memory_page_are_recomputed(memory: str) -> None:
    """Worked examples and rule sets are what the rooms compute."""
    outputs = _load("tests/docs/outputs.py")
    assert outputs.with_worked_example(memory, "docs/memory.md") == memory, "stale; run `python tests/docs/outputs.py`"


def test_the_worked_examples_follow_by_hand(memory: str) -> None:
    """Blocks, groups, states and requests of the four models from their configs, without the code."""
    part = memory.partition("<!-- worked example -->")[2].partition("<!-- /worked")[0]
    rows = {cells[0]: cells[1:] for line in part.splitlines() if (cells := line.strip("| ").split(" | "))[1:]}
    gemma, qwen, deepseek, oss = range(4)

    def number(name: str, column: int) -> float:
        return float(rows[name][column].split()[0].replace(",", ""))

    assert number("bytes a token", gemma) == 62 * 2 * 16 * 128 * 2
    assert number("bytes of a block", gemma) == 10 * 16 * 2 * 16 * 128 * 2
    assert number("blocks of a request of 32Ki", gemma) == 6 * (-(-(1023 + 8192) // 16) + 1) + 2048
    state = 3 * (2 * 16 * 128 + 32 * 128) * 2 + 32 * 128 * 128 * 4
    assert number("state of a layer", qwen) == state
    assert number("tokens of a block", qwen) == 16 * -(-state // (16 * 2 * 2 * 256 * 2))
    assert number("blocks of a request of 32Ki", qwen) == -(-32768 // 1056) + 3 * 2
    assert number("bytes a token", deepseek) == 61 * (512 + 64) * 2
    assert number("blocks of a request of 32Ki", oss) == 2048 + -(-(127 + 8192) // 16) + 1
    for column in range(4):
        used = sum(number(f"- {part}", column) for part in ("weights", "activation peak", "non-torch", "CUDA graphs"))
        assert number("budget", column) - used == pytest.approx(number("= available", column), abs=0.03)
        printed = number("blocks", column) / number("blocks of a request of 32Ki", column)
        assert number("printed concurrency", column) == pytest.approx(printed, abs=0.006)
        assert number("printed tokens", column) == int(printed * 32_768)
        assert number("logical, 32Ki", column) <= number("reserved, 32Ki", column)


def test_files_that_the_memory_page_names_exist(memory: str) -> None:
    """Sources named with their path are where they are said to be."""
    named = re.findall(r"`((?:planner|tests)/[\w./-]*)`", memory)
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_accuracy_page_is_what_its_command_prints(accuracy: str) -> None:
    """The page equals the command's output."""
    bench = _load("tests/bench/memory_accuracy.py")
    assert bench.page() == accuracy, f"stale; run `{bench.COMMAND}`"


def test_every_log_is_met_or_named(accuracy: str) -> None:
    """69 logs: 66 rows, all inside the rounding of the log, and three that print no pool of a known engine."""
    first = accuracy.partition("## From GPU")[0]
    rows = [line for line in first.splitlines() if line.startswith("| ") and " --- " not in line][1:]
    assert len(rows) == 66
    assert all(row.endswith("| yes |") for row in rows)
    without = first.partition("Without the inputs for it (3):")[2].partition("Counted with other rules")[0]
    assert len(re.findall("^- ", without, re.M)) == 3


def test_errors_of_available_memory(accuracy: str) -> None:
    """Over-promises stand first, the mean is that of the rows and below 0.1 GiB, and the splits add up."""
    second = accuracy.partition("## From GPU")[2]
    rows = [line.strip("| ").split(" | ") for line in second.splitlines() if line.startswith("| ")][2:]
    errors = [float(row[5]) for row in rows]
    assert len(rows) == 36
    assert errors == sorted(errors, reverse=True)
    mean = sum(map(abs, errors)) / len(errors)
    assert mean < 0.1
    assert f"mean absolute error **{mean:.3f} GiB**" in second
    for row in rows:
        logged, predicted, error = map(float, row[3:6])
        assert error == pytest.approx(predicted - logged, abs=0.006)
        if row[9] != "-":
            weights, peak, buffers, rest = map(float, row[6:10])
            assert error == pytest.approx(rest - weights - peak - buffers, abs=0.002)
    worst = sorted(errors, key=abs, reverse=True)[:5]
    named = [float(text) for text in re.findall(r"^1\. ([+-][\d.]+) GiB", second, re.M)]
    assert named == worst
