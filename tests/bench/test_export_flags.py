"""Exports against the engines' own definitions: names, types and choices read from their wheels, never imported.

`python -m pytest -o addopts=--import-mode=importlib tests/bench/test_export_flags.py -rs`. Wheels come from the folder
in KVPLAN_WHEELS, or from the package index (280 to 430 MB for vLLM); where neither has one, its tests are skipped and
say so.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from planner import pipeline
from planner.catalog.engines import load_engine
from planner.catalog.types import EngineRules
from planner.compression.table import load_presets
from planner.export.alerts import METRICS
from planner.export.flags import Settings, rank_arguments, settings
from planner.export.serving import QUANTIZE_ON_LOAD, Options, servings
from planner.plan.types import Plan

ROOT = Path(__file__).parents[2]
VLLM = {"vllm@0.19": "0.19.0", "vllm@0.24": "0.24.0", "vllm@0.33": "0.33.0"}
"""Rule set -> the release whose wheel is read."""

SGLANG = "0.5.23"
ADDED_BY_SERVE = {"port", "headless"}
"""Flags of `vllm serve` that are no engine arguments; looked up in its own modules."""

SHAPES = (("tp2", 2), ("tp1-pp2", 2), ("tp1-dp2-ep", 2), ("tp2-dcp2", 2))
GONE_FROM_SGLANG = {"fp4_e2m1"}
"""KV dtypes of the preset table that SGLang 0.5.23 no longer has (now nvfp4 and fp4_mx_block16)."""


@dataclass(frozen=True)
class Wheel:
    """Python sources of a wheel."""

    path: Path

    def text(self, name: str) -> str:
        """One file."""
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(name).decode("utf-8")

    def names(self, pattern: str) -> list[str]:
        """Files whose whole name matches."""
        with zipfile.ZipFile(self.path) as archive:
            return [name for name in archive.namelist() if re.fullmatch(pattern, name)]


@cache
def _wheel(name: str, version: str) -> Path | str:
    """The wheel, or why there is none."""
    given = os.environ.get("KVPLAN_WHEELS")
    folder = Path(given) if given else Path(os.environ.get("TMPDIR", "/tmp")) / f"kvplan-wheels-{os.getuid()}"
    found = sorted(folder.glob(f"{name}-{version}-*.whl"))
    if found:
        return found[0]
    if given:
        return f"no wheel of {name} {version} in KVPLAN_WHEELS={given}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    try:
        done = subprocess.run([*command, f"{name}=={version}"], capture_output=True, text=True, timeout=900)
    except subprocess.TimeoutExpired:
        return f"{name} {version} did not download within 15 minutes"
    found = sorted(folder.glob(f"{name}-{version}-*.whl"))
    return found[0] if found else f"the package index gives no wheel of {name} {version}: {done.stderr.strip()[-300:]}"


def _opened(name: str, version: str) -> Wheel:
    found = _wheel(name, version)
    if isinstance(found, str):
        pytest.skip(found)
    return Wheel(found)


@pytest.fixture(scope="module", params=sorted(VLLM))
def vllm(request: pytest.FixtureRequest) -> tuple[str, Wheel]:
    """A rule set of vLLM and the wheel of its release."""
    return request.param, _opened("vllm", VLLM[request.param])


@pytest.fixture(scope="module")
def sglang() -> Wheel:
    """SGLang's wheel."""
    return _opened("sglang", SGLANG)


@cache
def _plan() -> Plan:
    return pipeline.plan(pipeline.load(ROOT / "tests/data/scenarios/page.yaml"))


def _settings(engine: EngineRules, shapes: tuple[tuple[str, int], ...]) -> Iterator[Settings]:
    """Settings of one deployment in every shape, quantized on load, on one node and over several."""
    plan = _plan()
    name, first = next(iter(sorted(plan.deployments.items())))
    spec = replace(plan.scenario.models[first.model], engine=engine)
    scenario = replace(plan.scenario, models={first.model: spec})
    options = Options(model_paths={first.model: "/m"}, quantize_on_load=True)
    for shape, gpus in shapes:
        for per_node in (8, 1) if "dp" not in shape else (8,):
            each = replace(
                first, parallel=shape, gpus=gpus * first.replicas, gpus_per_node=per_node, weights="fp8",
                gpu_memory_utilization_ppm=900_000,
            )  # fmt: skip
            changed = replace(plan, deployments={name: each}, scenario=scenario)
            yield settings(servings(changed, options, engine=engine.name, source="plan.json")[0], options)


def _class(text: str, name: str) -> ast.ClassDef:
    return next(n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ClassDef) and n.name == name)


def _fields(node: ast.ClassDef) -> dict[str, str]:
    """Field -> annotation."""
    return {
        n.target.id: ast.unparse(n.annotation)
        for n in node.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }


def _literal(text: str, name: str) -> set[str]:
    """The words of `name = Literal[...]`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    raise AssertionError(f"no {name} in the wheel")


def _registered(text: str) -> set[str]:
    """Flags that `add_argument` calls of a source register."""
    return {
        argument.value.removeprefix("--")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_argument")
        for argument in node.args
        if isinstance(argument, ast.Constant) and str(argument.value).startswith("--")
    }


def _fits(value: object, annotation: str) -> bool:
    """Whether a value is of one of the plain types of an annotation; words of a Literal are checked by themselves."""
    kind = type(value).__name__
    return re.search(rf"\b{kind}\b", annotation) is not None or (kind == "str" and annotation in ("CacheDType",))


def test_vllm_has_every_flag(vllm: tuple[str, Wheel]) -> None:
    """Each setting is a registered flag of `vllm serve` and a field of EngineArgs that takes such a value."""
    rules, wheel = vllm
    engine = load_engine(rules)
    assert isinstance(engine, EngineRules)
    source = wheel.text("vllm/engine/arg_utils.py")
    fields, flags = _fields(_class(source, "EngineArgs")), _registered(source)
    serve = "\n".join(wheel.text(name) for name in wheel.names(r"vllm/entrypoints/(\w+/cli_args|cli/serve)\.py"))
    every = {name: value for chosen in _settings(engine, SHAPES) for name, value in chosen.items()}
    assert {"nnodes", "decode-context-parallel-size", "enable-expert-parallel", "quantization"} <= every.keys()
    for name, value in every.items():
        field = name.replace("-", "_")
        if name in ADDED_BY_SERVE:
            assert re.search(rf"\b{field}\b", serve), name
            continue
        assert name in flags or name == "model", f"vLLM has no --{name}"
        assert _fits(value, fields[field]), f"--{name} {value!r} is no {fields[field]}"
    for word in (*rank_arguments("vllm", "0", "host")[::2], "--headless"):
        assert word.removeprefix("--") in flags or word.removeprefix("--") in _registered(serve)


def test_vllm_has_every_value(vllm: tuple[str, Wheel]) -> None:
    """KV dtypes of the rule set are exactly usable words of CacheDType; so is every preset that the release has."""
    rules, wheel = vllm
    engine = load_engine(rules)
    assert isinstance(engine, EngineRules)
    words = _literal(wheel.text("vllm/config/cache.py"), "CacheDType")
    assert set(engine.kv_dtypes) <= words
    flags = {preset.kv_dtype["vllm"] for preset in load_presets().values() if "vllm" in preset.kv_dtype}
    assert flags & set(engine.kv_dtypes) <= words and "auto" in flags
    methods = _literal(wheel.text("vllm/model_executor/layers/quantization/__init__.py"), "QuantizationMethods")
    assert {value for (name, _), value in QUANTIZE_ON_LOAD.items() if name == "vllm"} <= methods


def test_vllm_has_every_metric(vllm: tuple[str, Wheel]) -> None:
    """Metric names of the alert rules are registered by the release, histograms as histograms."""
    source = vllm[1].text("vllm/v1/metrics/loggers.py")
    _metrics(source, "vllm", lambda kind: f"_{kind}_cls")
    assert any('"/health"' in vllm[1].text(n) for n in vllm[1].names(r"vllm/entrypoints/.*(health|api_server)\.py"))


def _metrics(source: str, engine: str, constructor: Callable[[str], str]) -> None:
    metrics = METRICS[engine]
    kinds = {
        metrics.ttft: "histogram", metrics.tpot: "histogram", metrics.kv_usage: "gauge", metrics.waiting: "gauge",
        metrics.preempted: "counter", metrics.finished: "counter",
    }  # fmt: skip
    made: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                    made[str(keyword.value.value)] = ast.unparse(node.func)
    for name, kind in kinds.items():
        # Prometheus' client shows a counter with `_total` at its end, whether or not it was named so.
        known = name if name in made else name.removesuffix("_total")
        assert known in made, f"{engine} has no metric {name}"
        assert constructor(kind) in made[known].lower(), f"{name} is made by {made[known]}"


def _sglang_fields(wheel: Wheel) -> dict[str, str]:
    """Flag -> annotation, from the dataclass fields that SGLang makes its flags of."""
    found: dict[str, str] = {}
    for name in wheel.names(r"sglang/srt/arg_groups/fields/\w+\.py"):
        for node in ast.walk(ast.parse(wheel.text(name))):
            if isinstance(node, ast.ClassDef):
                found |= {field.replace("_", "-"): kind for field, kind in _fields(node).items() if kind[:2] == "A["}
    return found


def test_sglang_has_every_flag(sglang: Wheel) -> None:
    """Each setting is a field of ServerArgs with a value of its type and, where it has choices, one of them."""
    base = load_engine("vllm@0.24")
    assert isinstance(base, EngineRules)
    engine = replace(base, name="sglang", version="0.5", requested="sglang@0.5", kv_dtypes=("auto",))
    fields = _sglang_fields(sglang)
    every = {
        name: value
        for chosen in _settings(engine, (("tp2", 2), ("tp1-pp2", 2), ("tp2-ep", 2)))
        for name, value in chosen.items()
    }
    assert {"ep-size", "pp-size", "nnodes", "mem-fraction-static", "quantization"} <= every.keys()
    for name, value in every.items():
        assert name in fields, f"SGLang has no --{name}"
        kind = fields[name]
        assert "no_cli" not in kind and _fits(value, kind.split(",")[0]), f"--{name} {value!r} is no {kind[:60]}"
    for word in rank_arguments("sglang", "0", "host")[::2]:
        assert word.removeprefix("--") in fields


def test_sglang_has_every_value(sglang: Wheel) -> None:
    """KV dtypes of the preset table are choices of SGLang, but for those that are known to be gone."""
    choices = re.search(r"choices=\[(.*?)\]", _sglang_fields(sglang)["kv-cache-dtype"], re.DOTALL)
    assert choices is not None
    words = set(re.findall(r"'([^']+)'", choices[1]))
    flags = {preset.kv_dtype["sglang"] for preset in load_presets().values() if "sglang" in preset.kv_dtype}
    assert flags - words == GONE_FROM_SGLANG
    methods = re.search(
        r"QUANTIZATION_CHOICES = \[(.*?)^\]", sglang.text("sglang/srt/arg_groups/choices.py"), re.S | re.M
    )
    assert methods is not None and '"fp8"' in methods[1]


def test_sglang_has_every_metric(sglang: Wheel) -> None:
    """Metric names of the alert rules are made by SGLang's collectors."""
    source = sglang.text("sglang/srt/observability/metrics_collector.py")
    _metrics(source, "sglang", lambda kind: kind)
    assert '"/health"' in sglang.text("sglang/srt/entrypoints/http_server.py")
