"""`solve --lock`, `solve --locked` and `locked` from outside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIRST = ROOT / "examples/01-first-plan/scenario.yaml"


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """A copy of the first example in a folder of its own."""
    return Path(shutil.copyfile(FIRST, tmp_path / "a.yaml"))


def _edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


def test_a_lock_holds_until_something_changes(kvplan, scenario: Path) -> None:
    """--lock writes the lock beside the scenario; --locked passes, also after a comment, and then names the edit."""
    assert kvplan("solve", str(scenario), "--lock").returncode == 0
    lock = scenario.with_name("a.yaml.lock.json")
    stored = lock.read_bytes()
    assert json.loads(stored)["plan"]["status"] == "optimal"
    scenario.write_text("# reviewed\n" + scenario.read_text())
    done = kvplan("solve", str(scenario), "--locked")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("first-plan   OPTIMAL")
    _edit(scenario, "peak: 12 req/s", "peak: 13 req/s")
    plan = scenario.with_name("plan.json")
    done = kvplan("solve", str(scenario), "--locked", "-o", str(plan))
    assert (done.returncode, done.stdout) == (6, "")
    assert f"{lock}: input traffic.questions: locked sha256:" in done.stderr
    assert f"then run `kvplan solve {scenario} --lock`" in done.stderr
    assert not plan.exists() and lock.read_bytes() == stored
    assert kvplan("solve", str(scenario), "--lock").returncode == 0
    assert kvplan("solve", str(scenario), "--locked").returncode == 0


def test_another_result_exits_6_after_solving(kvplan, scenario: Path) -> None:
    """Equal inputs whose plan is not the locked one are a mismatch of the result."""
    kvplan("solve", str(scenario), "--lock")
    lock = scenario.with_name("a.yaml.lock.json")
    tree = json.loads(lock.read_text())
    tree["plan"]["hash"] = "sha256:" + "0" * 64
    lock.write_text(json.dumps(tree))
    done = kvplan("solve", str(scenario), "--locked")
    assert (done.returncode, done.stdout) == (6, "")
    assert "result: locked optimal, 2153.50 a month, 1 GPUs (sha256:000000000000), now optimal" in done.stderr


def test_no_lock_is_written_for_no_plan(kvplan, scenario: Path) -> None:
    """An infeasible scenario exits 3, one cut short by the time limit 4; neither leaves a lock."""
    _edit(scenario, "tpot_p95: 40ms", "tpot_p95: 2ms")
    assert kvplan("solve", str(scenario), "--lock").returncode == 3
    shutil.copyfile(ROOT / "scenarios/prod.yaml", scenario)
    done = kvplan("solve", str(scenario), "--lock", "--time-limit", "0.1")
    assert (done.returncode, done.stdout) == (4, "") and "no lock written" in done.stderr
    assert [path.name for path in scenario.parent.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize(
    "args",
    [
        ("--lock", "--locked"),
        ("--lock", "--set", "owner=me"),
        ("--locked", "--what-if", "x"),
        ("--locked", "--show-candidates"),
        ("--lock", "-o", "{lock}"),
    ],
)
def test_a_lock_is_of_the_file_as_it_is(kvplan, scenario: Path, args: tuple[str, ...]) -> None:
    """Overrides, both flags at once, and a plan in the lock's place exit 2."""
    lock = f"{scenario}.lock.json"
    done = kvplan("solve", str(scenario), *(arg.format(lock=lock) for arg in args))
    assert (done.returncode, done.stdout) == (2, "")
    assert not Path(lock).exists()


def test_a_missing_lock_is_wrong_input(kvplan, scenario: Path) -> None:
    """--locked without a lock exits 1 and says how to write one."""
    done = kvplan("solve", str(scenario), "--locked")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("[KV810]") and f"kvplan solve {scenario} --lock" in done.stderr


def test_locked_checks_many_scenarios(kvplan, scenario: Path) -> None:
    """A folder, a scenario or a lock name what to compare; those without a lock are passed over; all are looked at."""
    folder = scenario.parent
    other = Path(shutil.copyfile(scenario, folder / "b.yaml"))
    shutil.copyfile(scenario, folder / "unlocked.yaml")
    for path in (scenario, other):
        assert kvplan("solve", str(path), "--lock").returncode == 0
    done = kvplan("locked", str(folder))
    assert (done.returncode, done.stdout) == (0, f"{scenario}: as locked\n{other}: as locked\n")
    _edit(scenario, "owner: you", "owner: me")
    done = kvplan("locked", str(folder))
    assert (done.returncode, done.stdout) == (6, f"{other}: as locked\n")
    assert "a.yaml.lock.json: input owner: locked sha256:" in done.stderr
    assert kvplan("locked", f"{other}.lock.json", str(folder / "unlocked.yaml")).stdout == f"{other}: as locked\n"
    _edit(scenario, "peak: 12 req/s", "peak: 12")
    done = kvplan("locked", str(folder))
    assert done.returncode == 1 and "[KV204]" in done.stderr
