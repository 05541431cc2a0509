"""Tests of the readers of measured latencies: every harness, tables, profiles, and what must not be mixed."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalog.latency import LatencyRun
from planner.errors import InputError
from planner.performance.measured.belongs import check_releases, same_release
from planner.performance.measured.calibrate import LEAST_RUNS, spread
from planner.performance.measured.files import read_runs
from planner.performance.measured.importing import import_runs
from planner.performance.measured.profile import profile_text
from planner.scenario.source import Findings
from planner.scenario.types import Place

DATA = Path(__file__).parents[1] / "data/latency"
SAID = {
    "model": "llama-3.1-8b",
    "gpu": "h100-sxm-80gb",
    "engine": "vllm@0.24.0",
    "parallel": "tp1",
    "weights": "bf16",
    "kv_dtype": "bf16",
    "source": "bench host 3",
}
ONE = Fraction(1)


def _read(name: str, said: dict[str, str] | None = None) -> tuple[list[LatencyRun], list[str]]:
    findings = Findings()
    path = str(DATA / name)
    runs = read_runs(path, Place("scenario.yaml", 3, 5), SAID if said is None else said, findings)
    return runs, [str(item).replace(str(DATA) + "/", "") for item in findings.items]


@pytest.mark.parametrize(
    ("name", "users"),
    [
        ("vllm-c32.json", [32]),
        ("vllm-c64-said.json", [64]),
        ("vllm-appended.json", [8, 32, 64]),
        ("guidellm.json", [1, 8, 32, 64, 128]),
        ("aiperf-c8.json", [8]),
        ("genai-perf-c8.json", [8]),
        ("aiperf-c8.csv", [8]),
        ("table.csv", [1, 8, 32, 64, 128]),
    ],
)
def test_every_format(name: str, users: list[int]) -> None:
    """Tests users, lengths, TPOT and TTFT of one made-up service in the schema of every harness."""
    known = {1: (6.5, 45), 8: (7.4, 55), 32: (10.6, 105), 64: (14.2, 170), 128: (21.5, 320)}
    runs, problems = _read(name)
    assert problems == []
    assert [run.concurrency for run in runs] == users
    for run in runs:
        assert (run.input_tokens, run.output_tokens) == (1024, 256)
        assert (run.tpot_us, run.ttft_us) == tuple(round(1000 * value) for value in known[run.concurrency])
        assert (run.system.gpu, run.system.engine) == ("h100-sxm-80gb", "vllm@0.24.0")
        assert run.is_closed_loop == (name != "aiperf-c8.csv")


def test_guidellm_counts_gaps_not_tokens() -> None:
    """Tests that GuideLLM's inter-token latency is taken, not its time per output token, which has the first one."""
    runs, _ = _read("guidellm.json")
    assert runs[0].tpot_us == 6500


def test_metadata_of_vllm_says_the_replica() -> None:
    """Tests that a result that names its replica needs nothing said, and that its source stands."""
    runs, problems = _read("vllm-c64-said.json", {"model": "llama-3.1-8b"})
    assert problems == [] and runs[0].source == "bench host 3, 2026-11-20"


@pytest.mark.parametrize(
    ("name", "said", "words"),
    [
        ("vllm-not-streamed.json", {}, "KV972] measured without streaming"),
        ("aiperf-not-streamed.json", {}, "KV972] streaming was off"),
        ("vllm-c32.json", {"model": "llama-3.1-70b"}, "KV973] (llama-3.1-8b), not llama-3.1-70b"),
        ("vllm-c64-said.json", {"gpu": "h200-sxm-141gb"}, "KV973] the file says gpu 'h100-sxm-80gb'"),
        ("vllm-c64-said.json", {"engine": "vllm@0.19"}, "KV973] the file says engine 'vllm@0.24.0'"),
        ("vllm-c32.json", {"gpu": "h1000"}, "KV972] no GPU 'h1000'; did you mean"),
        ("vllm-c32.json", {"engine": "vllm"}, "KV972]"),
        ("vllm-c32.json", {"parallel": "4"}, "KV972] no parallel shape"),
        ("make.py", {}, "KV972] this is none of"),
        ("missing.json", {}, "KV971] there is no such file"),
    ],
)
def test_what_cannot_be_taken(name: str, said: dict[str, str], words: str) -> None:
    """Tests the code and the sentence of results that say nothing, or something else than they are taken for."""
    runs, problems = _read(name, SAID | said)
    assert runs == []
    code, _, sentence = words.partition("] ")
    assert any(code in problem and sentence.removesuffix("]") in problem for problem in problems), problems


def test_a_result_that_says_nothing_of_its_replica() -> None:
    """Tests that a scenario, which says nothing beside the file, is sent to the importer."""
    runs, problems = _read("vllm-c32.json", {})
    assert runs == [] and len(problems) == 1
    assert "import-latency" in problems[0] and "gpu" in problems[0] and problems[0].startswith("vllm-c32.json:1:1")


def test_mistakes_of_a_table_carry_their_line(tmp_path: Path) -> None:
    """Tests that every wrong cell is told at once, with its line."""
    text = (DATA / "table.csv").read_text(encoding="utf-8").splitlines()
    text[1] = text[1].replace("h100-sxm-80gb", "h100")
    text[3] = text[3].replace(",10.6,", ",10.6ms,")
    text[4] = text[4].replace(",14.2,", ",,")
    path = tmp_path / "table.csv"
    path.write_text("\n".join(text), encoding="utf-8")
    findings = Findings()
    read_runs(str(path), Place("s.yaml", 1, 1), {}, findings)
    assert {(item.line, item.code) for item in findings.items} == {(2, "KV972"), (4, "KV972"), (5, "KV972")}
    path.write_text(text[0].replace("concurrency", "users") + "\n", encoding="utf-8")
    findings = Findings()
    read_runs(str(path), Place("s.yaml", 1, 1), {}, findings)
    assert {item.message.split(";")[0] for item in findings.items} == {
        "unknown column 'users'",
        "the column concurrency is missing",
    }


def test_a_profile_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Tests that runs survive being written as a profile and read again, promises and speculation included."""
    runs = import_runs([str(DATA / "vllm-appended.json")], SAID, 45_000, 800_000)
    runs = (*runs, replace(runs[0], concurrency=9, is_closed_loop=False, accepted_tokens=Fraction(12, 5)))
    path = tmp_path / "profile.yaml"
    path.write_text(profile_text(runs), encoding="utf-8")
    findings = Findings()
    again = read_runs(str(path), Place("s.yaml", 1, 1), {}, findings)
    assert findings.items == []
    assert [replace(run, place="") for run in again] == [replace(run, place="") for run in runs]
    assert again[0].place == f"{path}:11"


def test_mistakes_of_a_profile_carry_their_place(tmp_path: Path) -> None:
    """Tests unknown and missing keys, wrong units and a missing source, each at its line and all at once."""
    path = tmp_path / "profile.yaml"
    said = "\n".join(f"{key}: {value}" for key, value in SAID.items() if key != "source")
    run = "{input_tokens: 1024, output_tokens: 8k, concurrency: 8, tpot: 7, tptf: 1ms}"
    path.write_text(f"kvplan_latency: 1\n{said}\nruns:\n  a: {run}\n", encoding="utf-8")
    findings = Findings()
    assert read_runs(str(path), Place("s.yaml", 1, 1), {}, findings) == []
    words = {(item.line, item.message.split(";")[0]) for item in findings.items}
    assert (9, "runs.a: unknown key 'tptf'") in words and any("source" in sentence for _, sentence in words)
    assert sum(line == 9 for line, _ in words) == 3


def test_a_profile_is_of_one_replica() -> None:
    """Tests that files of two replicas do not become one profile."""
    with pytest.raises(InputError) as error:
        import_runs([str(DATA / "table.csv"), str(DATA / "vllm-c32.json")], SAID | {"weights": "fp8"}, None, None)
    assert "a profile is of one replica [KV973]" in str(error.value)


def test_two_releases_do_not_mix() -> None:
    """Tests that runs of two releases of an engine on one GPU are a mistake, and patch releases are not."""
    (run,), _ = _read("vllm-c32.json")
    for engine, count in (("vllm@0.24", 0), ("vllm@0.24.1", 1), ("vllm@0.19.0", 1), ("sglang@0.5.2", 0)):
        findings = Findings()
        check_releases([run, replace(run, system=replace(run.system, engine=engine))], findings)
        assert len(findings.items) == count, engine
    assert same_release("0.24", "0.24.0") and not same_release("0.2", "0.24")


@given(st.lists(st.floats(0.2, 5.0), min_size=1, max_size=40))
def test_spread_is_ordered_and_around_the_median(ratios: list[float]) -> None:
    """Tests that the three points are ordered, that few runs borrow the provider's band, and that many do not."""
    found = spread(ratios, Fraction(4, 5), ONE, Fraction(6, 5))
    assert found.p10 <= found.p50 <= found.p90 and found.n == len(ratios)
    assert found.is_borrowed == (len(ratios) < LEAST_RUNS)
    if found.is_borrowed:
        assert abs(found.p90 - found.p50 * Fraction(6, 5)) < Fraction(1, 10**5)


def test_detailed_results_are_read_too(tmp_path: Path) -> None:
    """Tests a result with every request's gaps, and one of a rate, whose users follow from Little's law."""
    tree = json.loads((DATA / "vllm-c32.json").read_text(encoding="utf-8"))
    tree |= {"max_concurrency": None, "request_rate": 4.0, "itls": [[0.0106] * 255], "request_throughput": 4.0}
    path = tmp_path / "rate.json"
    path.write_text(json.dumps(tree), encoding="utf-8")
    findings = Findings()
    (run,) = read_runs(str(path), Place("s.yaml", 1, 1), SAID, findings)
    assert not run.is_closed_loop
    assert run.concurrency == round(4.0 * (0.105 + 255 * 0.0106))
