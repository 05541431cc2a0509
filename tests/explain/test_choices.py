"""Why, why not, frontiers and alternatives of a fleet small enough that every plan of it can be counted."""

from __future__ import annotations

import json
from itertools import combinations, product
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner.cli.main import kvplan
from planner.errors import InputError
from planner.explain.hangs import About
from planner.explain.session import Question, explain
from planner.explain.types import Answer

RATES = {"l40s-48gb": {"chat": 2, "code": 3}, "a100-sxm-80gb": {"chat": 5, "code": 4}, "h100-sxm-80gb": {"chat": 9}}
POOLS = {  # pool: (GPU, nodes offered, GPUs a node, price of a node and hour)
    "small": ("l40s-48gb", 4, 2, 1.5),
    "middle": ("a100-sxm-80gb", 3, 2, 3.0),
    "large": ("h100-sxm-80gb", 3, 1, 2.5),
}
PEAKS = {"chat": 13, "code": 7}


def text(peaks: dict[str, int]) -> str:
    """The scenario: two models, each with one class, on three kinds of GPUs."""
    lines = ["kvplan: 1", "name: choices", "models:"]
    lines += [f"  {name}-model: {{capacity_table: {name}.csv}}" for name in peaks]
    lines += ["traffic:", *(f"  {name}: {{model: {name}-model, peak: {peak} req/s}}" for name, peak in peaks.items())]
    lines.append("inventory:")
    for name, (gpu, nodes, unit, price) in POOLS.items():
        lines.append(
            f"  {name}: {{gpu: {gpu}, region: eu, available: {nodes} nodes, gpus_per_node: {unit}, "
            f"price: ${price / unit:.2f}/gpu/h, source: x}}"
        )
    return "\n".join([*lines, "objective: [cost, gpus]", ""])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenario in a file, with the tables of its models."""
    folder = tmp_path_factory.mktemp("choices")
    for name in PEAKS:
        rows = [f"{gpu},{name},{rates[name]}" for gpu, rates in RATES.items() if name in rates]
        (folder / f"{name}.csv").write_text("\n".join(["gpu,class,requests_per_s", *rows, ""]))
    (folder / "scenario.yaml").write_text(text(PEAKS))
    return folder / "scenario.yaml"


def carries(nodes: tuple[int, ...], used: frozenset[tuple[str, str]]) -> bool:
    """Whether these nodes carry both classes, each only on the (model, GPU) pairs of `used`, by trying all splits."""
    counts = {gpu: n * unit for n, (gpu, _, unit, _) in zip(nodes, POOLS.values(), strict=True)}
    mine = [range(counts[gpu] + 1) for gpu in RATES]
    for split in product(*mine):
        rates = dict.fromkeys(PEAKS, 0)
        for gpu, chat in zip(RATES, split, strict=True):
            for name, count in (("chat", chat), ("code", counts[gpu] - chat)):
                if (f"{name}-model", gpu) in used:
                    rates[name] += count * RATES[gpu][name]
        if all(rates[name] >= peak for name, peak in PEAKS.items()):
            return True
    return False


PAIRS = tuple((f"{name}-model", gpu) for gpu, rates in RATES.items() for name in rates)


def fleets(used: frozenset[tuple[str, str]] = frozenset(PAIRS)) -> list[tuple[float, int, tuple[int, ...]]]:
    """(cost a month, GPUs, nodes) of all fleets that carry both classes on these pairs, best first."""
    found = []
    for nodes in product(*(range(offered + 1) for _, offered, _, _ in POOLS.values())):
        cost = 730 * sum(n * price for n, (_, _, _, price) in zip(nodes, POOLS.values(), strict=True))
        gpus = sum(n * unit for n, (_, _, unit, _) in zip(nodes, POOLS.values(), strict=True))
        if carries(nodes, used):
            found.append((cost, gpus, nodes))
    return sorted(found)


def asked(file: Path, **about: object) -> Answer:
    """The answer to particular questions."""
    return explain(str(file), Question(about=About(**about)))  # type: ignore[arg-type]


def test_the_frontier_of_cost_and_gpus_is_that_of_all_fleets(file: Path) -> None:
    """Tests that the points are exactly the fleets that no other one beats in cost and GPUs."""
    expected: list[tuple[float, int]] = []
    for cost, gpus, _ in fleets():
        if not expected or gpus < expected[-1][1]:
            expected.append((cost, gpus))
    found = asked(file, frontier="cost,gpus").frontier
    assert found is not None and found.whole and len(expected) > 1
    assert [(float(p.cost_per_month), int(p.number)) for p in found.points] == expected
    assert [p.now for p in found.points] == [True] + [False] * (len(expected) - 1)


def test_alternatives_are_exactly_the_best_that_lack_a_choice_of_each_before(file: Path) -> None:
    """Tests costs of all alternatives against every set of (model, GPU) pairs, taken greedily in order of cost."""
    base = asked(file, alternatives=20)
    assert base.alternatives is not None and base.alternatives.whole
    costs = {
        used: fleets(used) for size in range(1, len(PAIRS) + 1) for used in map(frozenset, combinations(PAIRS, size))
    }
    plans = {used: found[0][:2] for used, found in costs.items() if found}
    taken = [frozenset(_pair(run) for run in _runs_of_plan(file))]
    for each in base.alternatives.plans:
        allowed = {used: best for used, best in plans.items() if not any(before <= used for before in taken)}
        cost, _ = min(allowed.values())
        assert float(each.cost_per_month) == pytest.approx(cost)
        taken.append(frozenset(_pair(run) for run in each.runs))
        assert not any(before <= taken[-1] for before in taken[:-1])
    assert not [used for used in plans if not any(before <= used for before in taken)]


def _pair(run: str) -> tuple[str, str]:
    model, _, rest = run.partition(": ")
    return model, rest.rpartition(" x ")[2]


def _runs_of_plan(file: Path) -> tuple[str, ...]:
    found = asked(file, frontier="cost,gpus").frontier
    assert found is not None
    return found.points[0].runs


def test_why_a_gpu(file: Path) -> None:
    """Tests that without the GPU of a model the plan is the cheapest fleet without that pair."""
    answer = asked(file, why=("chat-model.gpu",))
    row = answer.why[0].instead[0]
    gone = set(answer.why[0].chosen.split(", "))
    left = frozenset(pair for pair in PAIRS if pair[0] != "chat-model" or pair[1] not in gone)
    assert float(row.fleet.cost_per_month or 0) == pytest.approx(fleets(left)[0][0])
    assert float(row.fleet.effect_per_month or 0) == pytest.approx(fleets(left)[0][0] - fleets()[0][0])


def test_why_not_a_gpu_a_pool_and_a_count(file: Path) -> None:
    """Tests forced choices against the fleets that have them."""
    questions = ("code-model.gpu=a100-sxm-80gb", "code-model.pool=middle", "chat-model.gpu=l40s-48gb")
    answer = asked(file, why_not=questions)
    forced = frozenset(pair for pair in PAIRS if pair[0] == "chat-model") | {("code-model", "a100-sxm-80gb")}
    middle = [fleet for fleet in fleets(forced) if fleet[2][1]]
    for row in answer.why_not[:2]:
        assert float(row.instead[0].fleet.cost_per_month or 0) == pytest.approx(middle[0][0])
    small = frozenset(pair for pair in PAIRS if pair[0] == "code-model") | {("chat-model", "l40s-48gb")}
    assert answer.why_not[2].instead[0].fleet.status == ("optimal" if fleets(small) else "infeasible")


def test_a_pool_that_is_gone(file: Path) -> None:
    """Tests that the plan without a pool is the cheapest fleet with no node of it."""
    answer = asked(file, why=("chat-model.pool",))
    for row in answer.why[0].instead:
        place = list(POOLS).index(row.change.removeprefix("without "))
        without = [fleet for fleet in fleets() if not fleet[2][place]]
        assert float(row.fleet.cost_per_month or 0) == pytest.approx(without[0][0])


def test_spare_nodes_cost_more_and_more(file: Path) -> None:
    """Tests that a frontier of spare nodes rises, and ends where no plan can spare as many."""
    found = asked(file, frontier="cost,spare").frontier
    assert found is not None and found.whole
    costs = [float(point.cost_per_month) for point in found.points]
    assert costs == sorted(set(costs)) and [point.number for point in found.points] == sorted(
        point.number for point in found.points
    )
    assert found.points[0].now


WRONG = (
    ({"why": ("chatmodel.gpu",)}, "--why:1:1", "did you mean chat-model?"),
    ({"why": ("deployments.chat-model.gpus",)}, "--why:1:24", "did you mean gpu?"),
    ({"why": ("chat-model.kv_preset",)}, "--why:1:12", "capacity table"),
    ({"why": ("chat-model",)}, "--why:1:1", "write it like deployments."),
    ({"why": ("chat-model.gpu=x",)}, "--why:1:15", "--why-not"),
    ({"why_not": ("chat-model.gpu",)}, "--why-not:1:15", "names no value"),
    ({"why_not": ("chat-model.gpu=h100",)}, "--why-not:1:16", "h100-sxm-80gb"),
    ({"why_not": ("chat-model.pool=smal",)}, "--why-not:1:17", "did you mean small?"),
    ({"why_not": ("chat-model.replicas=few",)}, "--why-not:1:21", "few"),
    ({"frontier": "gpus,cost"}, "--frontier:1:1", "cost,AXIS"),
    ({"frontier": "cost,speed"}, "--frontier:1:6", "quality_loss"),
    ({"frontier": "cost,tpot:chat"}, "--frontier:1:11", "no promise tpot_p95"),
)


@pytest.mark.parametrize(("about", "place", "words"), WRONG)
def test_mistakes_stand_in_the_text_of_the_option(file: Path, about: dict[str, object], place: str, words: str) -> None:
    """Tests the position and the suggestion of every mistake."""
    with pytest.raises(InputError) as caught:
        asked(file, **about)
    assert str(caught.value).startswith(f"{place}: error: ") and words in str(caught.value)
    assert [each.code for each in caught.value.diagnostics] == ["KV981"]


def test_the_command_writes_each_form(file: Path, tmp_path: Path) -> None:
    """Tests table, JSON, Markdown, CSV and a picture of one frontier."""
    call = ["explain", str(file), "--frontier", "cost,gpus", "-q"]
    runner = CliRunner()
    table = runner.invoke(kvplan, call)
    assert table.exit_code == 0 and "cost against gpus" in table.stdout
    document = json.loads(runner.invoke(kvplan, [*call, "--format", "json"]).stdout)
    assert document["frontier"]["axis"] == "gpus" and document["binding"] == []
    rows = runner.invoke(kvplan, [*call, "--format", "csv"]).stdout.splitlines()
    assert len(rows) == 1 + len(document["frontier"]["points"])
    assert runner.invoke(kvplan, [*call, "--format", "md"]).stdout.count("| today |") == 1
    target = tmp_path / "f.svg"
    assert runner.invoke(kvplan, [*call, "-o", str(target)]).exit_code == 0
    assert target.read_text().startswith("<svg ") and target.read_text().count("<circle") == len(rows) - 1


def test_pictures_need_a_frontier(file: Path) -> None:
    """Tests that a picture or rows of nothing are a wrong command line."""
    for flags in (["-o", "x.svg"], ["--format", "csv"]):
        result = CliRunner().invoke(kvplan, ["explain", str(file), *flags])
        assert result.exit_code == 2 and "--frontier" in result.stderr
