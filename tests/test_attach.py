"""What is attached to a scenario: preset ids, allowed rows, capacity tables, with mistakes at their places."""

from fractions import Fraction
from pathlib import Path

import pytest

from planner import pipeline
from planner.errors import InputError

HEAD = "gpu,class,requests_per_s\n"
GOOD = HEAD + "a10g-24gb,chat,2.5\na100-sxm-80gb,chat,20\n"
SCENARIO = """\
kvplan: 1
name: tables
models:
  m: {capacity_table: table.csv}
traffic:
  chat: {model: m, peak: 4 req/s, mean: 1 req/s}
inventory:
  small: {gpu: a10g-24gb, region: r, available: 4 nodes, gpus_per_node: 1, price: $1/gpu/h, source: s}
  large: {gpu: a100-sxm-80gb, region: r, available: 4 nodes, gpus_per_node: 1, price: $3/gpu/h, source: s}
"""


def write(folder: Path, table: str | bytes, scenario: str = SCENARIO) -> Path:
    """A scenario and its capacity table in a folder."""
    (folder / "table.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    (folder / "scenario.yaml").write_text(scenario, encoding="utf-8")
    return folder / "scenario.yaml"


def problems(path: Path) -> list[str]:
    """`line:code: message` of every diagnostic, the file left out."""
    with pytest.raises(InputError) as caught:
        pipeline.load(path)
    return [f"{d.line}:{d.code}: {d.message}" for d in caught.value.diagnostics]


def test_a_capacity_table_is_exact(tmp_path: Path) -> None:
    """Decimals are read as they are written, and no path of the machine stays in the scenario."""
    model = pipeline.load(write(tmp_path, GOOD)).models["m"]
    assert model.capacity == (
        ("a100-sxm-80gb", (("chat", Fraction(20)),)),
        ("a10g-24gb", (("chat", Fraction(5, 2)),)),
    )
    assert model.capacity_path == "table.csv"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", "1:KV702: the first line must be"),
        ("gpu,class,rps\n", "1:KV702: the first line must be"),
        (HEAD, "1:KV702: the table has no rows"),
        (GOOD + "a10g-24gb,chat,3\n", "4:KV702: a10g-24gb and chat stand in the table twice"),
        (GOOD + "a10g-24gb,chat\n", "4:KV702: read 2 cells"),
        (HEAD + "a10g-24gb,chat,nan\n", "2:KV702: requests_per_s must be a plain number"),
        (HEAD + "a10g-24gb,chat,-1\n", "2:KV702: requests_per_s must be a plain number"),
        (HEAD + "a10g-24gb,chat,1e3\n", "2:KV702: requests_per_s must be a plain number"),
        (HEAD + "a10g-24gb,chat,9999999999\n", "2:KV702: requests_per_s must be a plain number"),
        (HEAD + "a10g-24gb,talk,1\n", "2:KV702: class 'talk' does not use this model"),
        (HEAD + "h100,chat,1\n", "2:KV702: no pool has the GPU 'h100'"),
        (b"\xff\xfe\x00", "4:KV702: capacity table"),
    ],
)
def test_a_wrong_table_is_refused_at_its_line(tmp_path: Path, table: str | bytes, expected: str) -> None:
    """Each mistake names the table's own line and what to write instead."""
    assert any(line.startswith(expected) for line in problems(write(tmp_path, table)))


def test_every_mistake_of_a_table_is_reported_at_once(tmp_path: Path) -> None:
    """Two wrong rows and a missing pair are three diagnostics."""
    found = problems(write(tmp_path, HEAD + "a10g-24gb,chat,x\na100-sxm-80gb,talk,1\n"))
    assert [line.split(":")[0] for line in found] == ["1", "2", "3"] or len(found) >= 2


def test_an_unknown_preset_offers_the_nearest(repository: Path) -> None:
    """The id is checked against the preset table, at the scenario's line."""
    with pytest.raises(InputError) as caught:
        pipeline.load(repository / "scenarios" / "prod.yaml", ["models.assistant.kv_presets=[bf16, fp9]"])
    assert "unknown KV preset 'fp9'; did you mean 'fp8'?" in str(caught.value)
    assert "[KV701]" in str(caught.value)


def test_only_rows_of_the_table_may_be_allowed(repository: Path) -> None:
    """compression.allow names id@version of an existing row."""
    with pytest.raises(InputError, match=r"no preset row 'fp8@7'.*\[KV703\]"):
        pipeline.load(repository / "scenarios" / "prod.yaml", ["compression.allow=[fp8@7]"])


def test_both_committed_traces_are_planned_from() -> None:
    """Tests that scenarios/azure.yaml takes rates from its logs: chat by the minute, code by ten seconds."""
    traffic = pipeline.load(Path(__file__).parents[1] / "scenarios" / "azure.yaml").traffic
    assert traffic["conversation"].peak_rps == Fraction("8.7")
    assert traffic["code"].peak_rps == Fraction("41.5")
    assert float(traffic["code"].mean_rps) == pytest.approx(2.566686, abs=1e-6)


def test_a_provider_that_is_not_installed_is_the_users_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package `silicon` is refused where it is written, before anything looks infeasible."""
    monkeypatch.setattr("planner.performance.silicon.is_installed", lambda: False)
    path = write(tmp_path, GOOD, SCENARIO + "performance: {provider: silicon}\n")
    (problem,) = problems(path)
    assert problem.startswith("10:KV975: performance.provider: read silicon")
    assert "pip install 'kvplan[silicon]'" in problem
