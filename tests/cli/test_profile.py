"""`kvplan profile` from the outside: the list, a preset's page, pictures, and measuring without torch."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
KEYS = {"id", "claim", "ratio_status", "quality_status", "evidence", "residency", "engines"}
RATIO = {"confirmed", "mismatch", "superseded", "unconfirmed"}
QUALITY = {"confirmed", "refuted", "unconfirmed", "superseded", "proxy_only"}


def test_the_list_as_json_has_the_promised_keys(kvplan: Run) -> None:
    """A list of objects, one a preset, with statuses from their vocabularies."""
    rows = json.loads(kvplan("profile", "list", "--format", "json").stdout)
    assert isinstance(rows, list) and len(rows) == len({row["id"] for row in rows}) >= 24
    for row in rows:
        assert set(row) >= KEYS
        assert row["ratio_status"] in RATIO and row["quality_status"] in QUALITY
        assert row["residency"] in ("gpu", "at_rest")
    by_name = {row["name"]: row for row in rows}
    worst = by_name["nexusquant-max@0.4.0"]
    assert (worst["claim"]["ratio"], worst["ratio_status"], worst["engines"]) == (33.0, "superseded", {})
    assert worst["gpu_resident_ratio"] == 1.0
    assert by_name["fp8@vllm-0.19"]["evidence"]["packed_ratio"] == 2.0
    assert by_name["fp8@vllm-0.19"]["engines"]["vllm"] == {"since": "0.19", "kv_dtype": "fp8"}


def test_the_list_as_a_table_names_every_preset_and_its_evidence(kvplan: Run) -> None:
    """One line a preset, and the evidence files below."""
    shown = kvplan("profile", "list").stdout
    for name in ("bf16@1", "kivi-2bit@icml-2024", "nexusquant-high@0.4.0", "nexusquant-high@0.6.3"):
        assert name in shown
    assert "smollm2-135m-tier" in shown


def test_a_page_puts_claims_beside_measurements(kvplan: Run) -> None:
    """Balanced: 17x declared, 1.00x on the GPU, ratios that fall with decoded tokens, and a curve."""
    shown = kvplan("profile", "show", "nexusquant-balanced@0.4.0").stdout
    for words in ("17.00x", "superseded", "packed tensors", "serialized", "GPU-resident     1.00x  mismatch", "recall"):
        assert words in shown
    line = next(line for line in shown.splitlines() if "+ 1,024 decoded" in line and "x" in line)
    assert line.split()[3:] == ["1.23x", "1.88x", "4.03x", "11.37x", "14.99x"]
    assert "●" in shown and "128Ki tokens of prompt" in shown


def test_ratios_by_hand() -> None:
    """4,096 tokens with 60 % evicted keep 1,658 of 76 bytes; 1,024 decoded ones take 512 bytes each."""
    kept = 32 + 1 + int((4096 - 32) * 0.4)
    assert kept == 1658
    assert f"{(4096 + 1024) * 512 / (kept * 76 + 1024 * 512):.2f}" == "4.03"


def test_a_scenario_says_why_a_preset_is_not_eligible(kvplan: Run) -> None:
    """The gates of engine, residency and claim, the floors of every class, and whether it is offered."""
    shown = " ".join(kvplan("profile", "show", "nexusquant-max", "--scenario", "scenarios/prod.yaml").stdout.split())
    assert "nexusquant-max@0.4.0: no engine runs it; GPU-resident ratio 1.0x; claim superseded" in shown
    assert "models.assistant.kv_presets does not offer it" in shown
    assert "recall was never measured (needs_recall)" in shown
    tree = json.loads(kvplan("profile", "show", "fp8", "--scenario", "scenarios/prod.yaml", "--format", "json").stdout)
    assert all(row["eligible"] for row in tree["eligible"] if row["gpu"] == "h100-sxm-80gb")
    assert {row["class"] for row in tree["classes"]} == {"agents", "chat", "nightly", "search"}


def test_the_curve_becomes_a_picture(kvplan: Run, tmp_path: Path) -> None:
    """A whole SVG document with one line for each number of decoded tokens."""
    file = tmp_path / "ratio.svg"
    assert kvplan("profile", "show", "kivi-2bit", "-o", str(file)).returncode == 0
    root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 3


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("show", "nexusquant-maxx"), "did you mean", 1),
        (("show", "fp8", "--model", "no-such-model"), "unknown model", 1),
        (("show", "fp8", "-o", "x.png"), "ends in .svg", 2),
        (("show", "fp8", "--value"), "go with --scenario", 2),
        (("show", "kvquant-3bit", "-o", "x.svg"), "no codec computes its bytes", 2),
        (("validate", "fp9"), "no preset", 1),
        (("validate", "kvquant-3bit"), "no codec computes it", 1),
        (("validate", "--tier", "0", "-o", "x.json"), "tier 0", 2),
        (("validate", "--tier", "3"), "3", 2),
    ],
)
def test_mistakes_are_sentences(kvplan: Run, arguments: tuple[str, ...], words: str, code: int) -> None:
    """Unknown names, files that are no pictures, and flags that do not go together."""
    done = kvplan("profile", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [(), ("list",), ("show",), ("validate",)])
def test_help_has_examples(kvplan: Run, command: tuple[str, ...]) -> None:
    """Each help page shows commands to copy."""
    assert "kvplan profile" in kvplan("profile", *command, "--help").stdout.partition("Examples:")[2]


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_measuring_without_torch_says_how_to_get_it(kvplan: Run) -> None:
    """No traceback: the extra to install, and what works without."""
    done = kvplan("profile", "validate")
    assert done.returncode == 1 and "pip install 'kvplan[validate]'" in done.stderr


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch: pip install 'kvplan[validate]'")
def test_tier_0_finds_nothing_wrong(kvplan: Run) -> None:
    """Codecs and bytes of a preset, and eviction of another."""
    done = kvplan("profile", "validate", "fp8", "nexusquant-max", "--tier", "0")
    assert done.returncode == 0, done.stdout
    assert {line.rpartition(": ")[2] for line in done.stdout.splitlines()} == {"ok"}


def test_the_list_and_a_solve_import_no_torch(kvplan: Run) -> None:
    """Both work where torch cannot be imported at all."""
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "from planner import pipeline\n"
        "from planner.calculator.profile import profiles, ratios\n"
        "plan = pipeline.plan(pipeline.load('examples/01-first-plan/scenario.yaml'))\n"
        "print(plan.status, len(profiles()) > 20)"
    )
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.split() == ["optimal", "True"], done.stderr


ROOT = Path(__file__).parents[2]
