"""`solve --as-is` and `solve --near` from the command line: exit codes, pages, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from planner.cli.main import kvplan
from planner.errors import InputError
from planner.plan.io import digest

FLEET = str(Path(__file__).parents[1] / "data" / "scenarios" / "fleet.yaml")
SMALL = str(Path(__file__).parents[1] / "data" / "scenarios" / "small.yaml")
MORE = ("--set", "traffic.chat.peak=12 req/s")


def run(*args: str) -> tuple[int, str, str]:
    """Exit code, stdout, and stderr or what was raised."""
    result = CliRunner().invoke(kvplan, list(args), standalone_mode=False)
    if isinstance(result.exception, InputError | click.UsageError):
        return (1 if isinstance(result.exception, InputError) else 2), result.stdout, str(result.exception)
    assert result.exception is None, result.exception
    return int(result.return_value), result.stdout, result.stderr


def test_a_fleet_that_keeps_everything_is_a_plan(tmp_path: Path) -> None:
    """Exit 0, a plan document of exactly the running replicas, and each promise with its margin."""
    target = tmp_path / "plan.json"
    code, page, _ = run("solve", FLEET, "--as-is", "--set", "traffic.chat.peak=1 req/s", "-o", str(target))
    assert code == 0
    assert "AS IT IS: OPTIMAL" in page and "it keeps everything" in page
    plan = json.loads(target.read_text())
    assert [each["replicas"] for each in plan["deployments"].values()] == [2]
    assert run("check", str(target))[0] == 0


def test_a_fleet_that_breaks_a_promise_exits_3() -> None:
    """Exit 3, and the page names what is broken, where it stands and by what factor."""
    code, page, _ = run("solve", FLEET, "--as-is", *MORE)
    assert code == 3
    assert "AS IT IS: INFEASIBLE" in page and "traffic.chat.peak   --set" in page
    assert "broken, 2.44x" in page


def test_a_plan_says_what_moves_and_what_doing_nothing_means() -> None:
    """The page of a plan has a line for the moves and one for the fleet as it is; so has a what-if."""
    code, page, _ = run("solve", FLEET, *MORE)
    assert code == 0
    assert "moves        2 replicas move from the fleet that runs: 2 start, 0 stop" in page
    assert "do nothing   the fleet that runs, left as it is: $2,686.40 / month, 4 GPUs; it breaks 1 of 1" in page
    assert "do nothing" in run("what-if", FLEET, *MORE)[1]


def test_a_plan_stays_near_another_one(tmp_path: Path) -> None:
    """The fleet of a plan is what moves are counted from, and pools that are gone are said."""
    target = tmp_path / "plan.json"
    run("solve", FLEET, *MORE, "-o", str(target))
    code, page, errors = run("solve", FLEET, *MORE, "--near", str(target))
    assert (code, errors) == (0, "")
    assert "no replica starts or stops: the plan to stay near stays" in page
    tree = json.loads(target.read_text())
    for deployment in tree["deployments"].values():
        deployment["pools"] = {"gone": deployment["replicas"]}
    target.write_text(json.dumps(tree))
    assert "KV807" in run("solve", FLEET, *MORE, "--near", str(target))[2]
    target.write_text(json.dumps({**tree, "hash": digest(tree)}))
    code, _, errors = run("solve", FLEET, *MORE, "--near", str(target))
    assert code == 0 and "runs 4 replicas of models or in pools that are gone" in errors


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        ((SMALL, "--as-is"), 1, "KV464"),  # nothing runs
        ((FLEET, "--as-is", "--near", "plan.json"), 2, "leave out --near"),
        ((FLEET, "--as-is", "--certify"), 2, "leave out --certify"),
        ((FLEET, "--as-is", "--lock"), 2, "leave out --as-is"),
        ((FLEET, "--near", "none.json"), 1, "KV801"),  # no such plan
        ((FLEET, "--near", FLEET), 1, "KV802"),  # not JSON
    ],
)
def test_what_has_no_meaning_is_refused(args: tuple[str, ...], code: int, text: str) -> None:
    """Wrong combinations are wrong command lines; a scenario without a fleet is wrong input."""
    found, _, errors = run("solve", *args)
    assert (found, text in errors) == (code, True)


def test_a_plan_that_runs_nothing_is_nothing_to_stay_near_to(tmp_path: Path) -> None:
    """An infeasible plan has no deployments: KV808."""
    target = tmp_path / "plan.json"
    run("solve", SMALL, "--set", "traffic.chat.slo.tpot_p95=1ms", "-o", str(target))
    code, _, errors = run("solve", SMALL, "--near", str(target))
    assert code == 1 and "KV808" in errors
