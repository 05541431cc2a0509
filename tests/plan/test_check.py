"""The independent check: every decisive value that is changed by hand is found, and hostile files are refused."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from planner import pipeline
from planner.errors import InputError
from planner.plan.check import check_tree
from planner.plan.io import to_tree

REPOSITORY = Path(__file__).parents[2]
PLANS = ("prod", "first-plan", "mixed-gpus")

Tree = dict[str, object]
MakeTree = Callable[[str], Tree]

RUN = "how this run went; outside the hash"
CARRIED = "carried for people and later commands; no number of the plan depends on it"
SLACK = "a bound that the plan meets with room; another bound as loose leaves the same plan sound"
TABLE_ONLY = "not read where a capacity table stands in for physics"
NOT_DECISIVE = {
    "format_version": "the reader's rule: minor versions add keys, other major versions are refused",
    "hash": "the hash itself, which --no-hash leaves out",
    "run.kvplan": RUN,
    "run.python": RUN,
    "run.ortools": RUN,
    "run.catalog": RUN,
    "run.file": RUN,
    "run.seconds.*": RUN,
    "run.places.*": RUN,
    "run.proof": RUN,
    "run.reproducible": RUN,
    "scenario.name": CARRIED,
    "scenario.owner": CARRIED,
    "scenario.guardrails.*.kind": CARRIED,
    "scenario.guardrails.*.value": CARRIED,
    "scenario.guardrails.*.message": CARRIED,
    "scenario.what_if.*": CARRIED,
    "scenario.inventory.*.start_up_us": "carried; that it is given is a warning, its value is not acted on",
    "scenario.models.*.replicas.min": SLACK,
    "scenario.models.*.max_configurations": SLACK,
    "scenario.models.*.max_batch_min": SLACK,
    "scenario.traffic.*.quality.max_accuracy_drop_ppm": SLACK,
    "scenario.traffic.*.quality.max_ppl_increase_ppm": SLACK,
    "scenario.traffic.*.quality.needs_recall": SLACK,
    "scenario.reserve.kv_headroom_ppm": SLACK + ": up to 1/6 the margin for swings is the larger one",
    "scenario.compression.allow_proxy": SLACK,
    "scenario.inventory.*.gpus_per_node": "decisive where nodes are bought; nothing is said of a pool without any",
    "scenario.models.*.max_batch_max": TABLE_ONLY,
    "scenario.models.*.engine_args.gpu_memory_utilization_ppm": TABLE_ONLY,
    "scenario.models.*.engine_args.max_num_batched_tokens": TABLE_ONLY,
    "scenario.traffic.*.reusable_prefix_ppm": TABLE_ONLY,
    "scenario.traffic.*.mean_rps": TABLE_ONLY,
    "scenario.traffic.*.slo.ttft_p95_us": TABLE_ONLY,
    "scenario.traffic.*.slo.tpot_p95_us": TABLE_ONLY,
    "scenario.traffic.*.slo.finish_within_us": TABLE_ONLY,
}
"""Kinds of values that may be changed without a finding (docs/plan.md says the same), with the reason."""

ALWAYS_DECISIVE = {
    "first-plan": {name for name, reason in NOT_DECISIVE.items() if reason == TABLE_ONLY}
    | {"scenario.models.*.replicas.min"},
}
"""Where a value of the table is decisive after all: the physics of a model, and defaults that were taken."""


def _load(name: str) -> ModuleType:
    """A helper module beside this file."""
    spec = importlib.util.spec_from_file_location(f"plan_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


walk = _load("conftest")


def _rows(tree: Tree, *, whole: bool = False) -> list[str]:
    """Where the findings without the hash point, or their text; a refused document points at what it names."""
    try:
        findings = check_tree(tree, "plan.json", use_hash=False)[1]
        return [str(finding) if whole else finding.row for finding in findings]
    except InputError as error:
        return [diagnostic.message for diagnostic in error.diagnostics]


def _leads_there(steps: tuple[str | int, ...], rows: list[str], tree: Tree) -> bool:
    """Whether some row names the value's key, or the model, class, pool, limit or deployment that it belongs to."""
    names = [step for step in steps if isinstance(step, str)]
    words = {names[-1], names[-1].removesuffix("_us").removesuffix("_ppm")}
    if len(names) > 1 and names[-2] in ("per_node", "parallel", "capacity"):
        words.add(names[-2])
    if names[0] in ("deployments", "pools", "models"):
        words.add(f"{names[0]}.{names[1]}")
    if names[0] == "scenario":
        words |= set(names[2:3]) | {names[1]}
        if names[1] == "traffic":
            words.add(tree["scenario"]["traffic"][names[2]]["model"])  # type: ignore[index]
        if names[1] in ("reserve", "horizon_h", "currency", "budget", "objective"):
            words |= {"deployments.", "packing.", "totals.", "objective", "budget"}
    return any(word in row for word in words for row in rows)


def _sample(tree: Tree, *, scenario_too: bool) -> list[tuple[str, tuple[str | int, ...], object]]:
    """One value of every kind; of the scenario only where asked: each of its values needs a new candidate table."""
    found: dict[str, tuple[tuple[str | int, ...], object]] = {}
    for steps, value in walk.leaves(tree):
        kind = walk.pattern(steps)
        known = found.get(kind)
        if known is None or (known[1] is None and value is not None):
            found[kind] = (steps, value)
    return [(k, s, v) for k, (s, v) in found.items() if scenario_too or not k.startswith("scenario.")]


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_holds(name: str, plan_tree: MakeTree) -> None:
    """What solve writes passes the check, hash included."""
    assert check_tree(plan_tree(name), name)[1] == []


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.usefixtures("remembered_tables")
def test_every_decisive_value_is_found(name: str, plan_tree: MakeTree) -> None:
    """One value of every kind, changed by hand: each is found without the hash, and the finding leads to it."""
    tree = plan_tree(name)
    kinds = _sample(tree, scenario_too=name != "prod")
    missed, misled = [], []
    for kind, steps, value in kinds:
        rows = _rows(walk.changed(tree, steps, walk.other(steps, value)), whole=True)
        must = kind not in NOT_DECISIVE or kind in ALWAYS_DECISIVE.get(name, ())
        if must and not rows:
            missed.append(kind)
        if rows and not _leads_there(steps, rows, tree):
            misled.append((kind, rows[:4]))
    assert (missed, misled) == ([], [])
    assert len(kinds) > 100


@pytest.mark.usefixtures("remembered_tables")
def test_facts_of_the_catalog_are_compared(plan_tree: MakeTree) -> None:
    """Every fact of a GPU, a model and an engine that prod embeds is found at its own path when it is changed."""
    tree = plan_tree("prod")
    facts = [
        (steps, value)
        for kind, steps, value in _sample(tree, scenario_too=True)
        if any(part in kind for part in (".gpu.", ".facts.", ".engine."))
    ]
    assert len(facts) > 40
    for steps, value in facts[::9]:
        path = ".".join(step for step in steps if isinstance(step, str))
        rows = _rows(walk.changed(tree, steps, walk.other(steps, value)))
        assert any(row.startswith(path) or path.startswith(row) or "deployments" in row for row in rows), path


@pytest.mark.parametrize("name", ["prod", "mixed-gpus"])
def test_what_is_not_decisive_is_in_the_hash(name: str, plan_tree: MakeTree) -> None:
    """A change that no row can find breaks the hash, unless it is about the run."""
    tree = plan_tree(name)
    for kind, steps, value in _sample(tree, scenario_too=True):
        if kind in (
            "scenario.owner",
            "scenario.what_if.*",
            "scenario.guardrails.*.value",
            "scenario.models.*.max_configurations",
        ):
            findings = check_tree(walk.changed(tree, steps, walk.other(steps, value)), name)[1]
            assert [finding.row for finding in findings][-1] == "hash", kind
    assert check_tree(walk.changed(tree, ("run", "file"), "elsewhere.yaml"), name)[1] == []


def test_the_page_and_the_table_agree() -> None:
    """docs/plan.md names every kind of value that is not decisive."""
    page = (REPOSITORY / "docs/plan.md").read_text()
    assert [kind for kind in NOT_DECISIVE if f"`{kind}`" not in page] == []


def test_a_later_minor_version_is_read(plan_tree: MakeTree) -> None:
    """Keys of a later minor version are read over; another major version is refused."""
    tree = plan_tree("first-plan")
    tree["format_version"] = "1.7"
    tree["forecast"] = {"cost_per_h": "1.00"}
    assert check_tree(tree, "plan.json", use_hash=False)[1] == []
    tree["format_version"] = "2.0"
    with pytest.raises(InputError, match="KV804"):
        check_tree(tree, "plan.json")


def test_gpus_beyond_the_pools(plan_tree: MakeTree) -> None:
    """Replicas and GPUs raised together are found against the nodes bought, and nodes against the stock."""
    tree = plan_tree("mixed-gpus")
    name, deployment = next(iter(tree["deployments"].items()))  # type: ignore[attr-defined]
    more = walk.changed(tree, ("deployments", name), {**deployment, "replicas": 40, "gpus": 40})
    assert f"deployments.{name}.gpus" in _rows(more)
    pool = next(iter(deployment["pools"]))
    assert f"pools.{pool}.nodes" in _rows(walk.changed(tree, ("pools", pool, "nodes"), 17))


def test_an_infeasible_plan_stays_infeasible(tmp_path: Path) -> None:
    """Conflicts of bands that nothing serves are derived again; a made-up status is found."""
    text = (REPOSITORY / "examples/01-first-plan/scenario.yaml").read_text()
    path = tmp_path / "scenario.yaml"
    path.write_text(text.replace("tpot_p95: 40ms", "tpot_p95: 1ms"))
    tree = json.loads(json.dumps(to_tree(pipeline.plan(pipeline.load(path)))))
    assert tree["status"] == "infeasible" and check_tree(tree, "plan.json")[1] == []
    changed = walk.changed(tree, ("conflicts", 0, "message"), "no reason")
    assert any("conflicts[" in row for row in _rows(changed))
    assert any("objective" in row or "gap" in row or "demand" in row for row in _rows({**tree, "status": "optimal"}))


HOSTILE = {
    "no replicas": (("deployments", "helpdesk", "replicas"), 0),
    "negative replicas": (("deployments", "helpdesk", "replicas"), -3),
    "a billion replicas": (("deployments", "helpdesk", "replicas"), 10**9),
    "no GPUs": (("deployments", "helpdesk", "gpus"), 0),
    "nodes beyond all stock": (("pools", "h100", "nodes"), 10**30),
    "negative nodes": (("pools", "h100", "nodes"), -1),
    "division by zero": (("deployments", "helpdesk", "routing", 0, "share"), "1/0"),
    "an endless fraction": (("deployments", "helpdesk", "routing", 0, "share"), "1e999999999"),
    "an endless rate": (("scenario", "traffic", "questions", "peak_rps"), "1e999999999"),
    "a number of 2,000 digits": (("deployments", "helpdesk", "gpus"), 10**2000),
    "an infinite step": (("deployments", "helpdesk", "step", "alpha_ns"), float("inf")),
    "a rate of 0": (("scenario", "traffic", "questions", "peak_rps"), "0"),
    "a spare node too many": (("scenario", "reserve", "spare_nodes"), 10**9),
    "spare replicas without end": (("scenario", "reserve", "spare_replicas"), 2**31),
    "a node of a billion GPUs": (("scenario", "inventory", "h100", "gpus_per_node"), 10**9),
    "no GPUs in a node": (("scenario", "inventory", "h100", "gpus_per_node"), 0),
    "utilization 0": (("scenario", "reserve", "utilization_ppm"), 0),
    "all KV kept free": (("scenario", "reserve", "kv_headroom_ppm"), 1_000_000),
    "a percentile of 0": (("scenario", "traffic", "questions", "input_tokens", "percentiles", 0, 0), 0),
    "percentiles twice": (("scenario", "traffic", "questions", "input_tokens", "percentiles", 1, 0), 500_000),
    "tokens below 1": (("scenario", "traffic", "questions", "input_tokens", "percentiles", 0, 1), 0),
    "tokens without end": (("scenario", "traffic", "questions", "input_tokens", "max_tokens"), 10**18),
    "a context limit of 0": (("scenario", "models", "helpdesk", "context_limits_tokens", 0), 0),
    "tensor parallelism 0": (("scenario", "models", "helpdesk", "parallel", 0, "tp"), 0),
    "a model without layers": (("scenario", "models", "helpdesk", "facts", "layers"), 0),
    "an unknown preset": (("scenario", "models", "helpdesk", "kv_presets", 0), "zip"),
    "a class of no model": (("scenario", "traffic", "questions", "model"), "nobody"),
    "a class without lengths": (("scenario", "traffic", "questions", "input_tokens"), None),
    "no objective": (("scenario", "objective"), []),
    "no pools": (("scenario", "inventory"), {}),
    "no models": (("scenario", "models"), {}),
    "no traffic": (("scenario", "traffic"), {}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_values(case: str, plan_tree: MakeTree) -> None:
    """A hostile value is a finding or a refusal within seconds, never another error."""
    steps, value = HOSTILE[case]
    start = time.monotonic()
    assert _rows(walk.changed(plan_tree("first-plan"), steps, value))
    assert time.monotonic() - start < 60  # a hang, not a speed


def test_a_huge_fleet_does_not_hang(plan_tree: MakeTree) -> None:
    """A million nodes and a million replicas that agree with each other are refused before they are laid out."""
    tree = plan_tree("mixed-gpus")
    name, deployment = next(iter(tree["deployments"].items()))  # type: ignore[attr-defined]
    pool = next(iter(deployment["pools"]))
    huge = walk.changed(
        tree, ("deployments", name), {**deployment, "replicas": 10**6, "gpus": 10**6, "pools": {pool: 10**6}}
    )
    huge = walk.changed(huge, ("pools", pool, "nodes"), 10**6)
    huge = walk.changed(huge, ("scenario", "inventory", pool, "available_nodes"), 10**6)
    start = time.monotonic()
    assert f"deployments.{name}.replicas" in _rows(huge)
    assert time.monotonic() - start < 60  # a hang, not a speed


@pytest.mark.usefixtures("remembered_tables")
def test_any_value_of_another_type(plan_tree: MakeTree) -> None:
    """Nulls, lists, maps, huge and negative numbers in the place of every kind of value never give a traceback."""
    tree = plan_tree("first-plan")
    rng = random.Random(7)
    values: tuple[object, ...] = (
        None,
        -1,
        0,
        10**30,
        -(10**30),
        "1/0",
        "",
        [],
        {},
        True,
        1e308,
        "x" * 5_000,
        [[]],
        1.5,
    )
    for _, steps, value in _sample(tree, scenario_too=True):
        for depth in {len(steps), rng.randint(1, len(steps))}:
            for new in rng.sample(values, 2):
                if new != value:
                    _rows(walk.changed(tree, steps[:depth], new))


@pytest.mark.parametrize(
    "key", ["status", "objective", "deployments", "pools", "scenario", "run", "totals", "limits", "candidates"]
)
def test_missing_keys(key: str, plan_tree: MakeTree) -> None:
    """A plan without one of its parts is refused or disproved by name."""
    tree = plan_tree("first-plan")
    del tree[key]
    assert any(key in row for row in _rows(tree))


FILES = {
    "NaN": '{"format_version": "1.0", "gap_ppm": NaN}',
    "deep": '{"format_version": "1.0", "a": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "deep enough for a reader": '{"format_version": "1.0", "a": ' + "[" * 500 + "]" * 500 + "}",
    "endless": '{"format_version": "1.0", "gap_ppm": ' + "9" * 5_000 + "}",
    "overflow": '{"format_version": "1.0", "gap_ppm": 1e999}',
    "binary": "\x00\x01\x02",
    "empty": "",
    "list": "[]",
    "other": '{"format_version": 1}',
}


@pytest.mark.parametrize("case", FILES)
def test_hostile_files(case: str, tmp_path: Path) -> None:
    """Files that are no plans are refused as wrong input."""
    path = tmp_path / "plan.json"
    path.write_text(FILES[case])
    with pytest.raises(InputError):
        pipeline.check(path)


def test_exit_codes(plan_tree: MakeTree, tmp_path: Path) -> None:
    """The command says 0 for a sound plan, 6 with the row for a changed one, 1 for a file that is none."""
    tree = plan_tree("mixed-gpus")
    cases = {"sound": (tree, 0, "holds"), "changed": (walk.changed(tree, ("totals", "gpus"), 3), 6, "totals.gpus"),
             "none": ({"format_version": "1.0"}, 1, "KV805")}  # fmt: skip
    for name, (document, code, word) in cases.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document))
        command = [sys.executable, "-m", "planner", "check", "--no-hash", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60, check=False)
        assert (done.returncode, word in done.stdout + done.stderr, "Traceback" in done.stderr) == (code, True, False)
