"""Engine flags: what they say, and what a shell makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.export.flags import arguments, settings
from planner.export.scripts import config_file, shell_script
from planner.export.serving import Options, Serving, servings
from planner.plan.types import Plan

FAKE = """#!/usr/bin/env python3
import json, sys
print(json.dumps([sys.argv[0].rpartition("/")[2], *sys.argv[1:]]))
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script in a shell whose `vllm` and `python3` print the arguments that they got."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("vllm", "python3"):
        (folder / name).write_text(FAKE.replace("/usr/bin/env python3", sys.executable))
        (folder / name).chmod(0o755)

    def call(text: str, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "serve.sh"
        script.write_text(text, encoding="utf-8")
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(tmp_path), **more}
        command = ["sh", str(script), *args]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=20)

    return call


def _sglang(changed: Callable[..., Plan], **values: Any) -> tuple[Plan, tuple[Serving, ...]]:
    rules = {"name": "sglang", "requested": "sglang@0.5", "version": "0.5", "kv_dtypes": ("auto", "fp8_e4m3")}
    plan = changed(engine=rules, **values)
    return plan, servings(plan, Options(model_paths={"helpdesk": "/m"}), engine="sglang", source="plan.json")


def test_vllm_flags_say_what_the_plan_says(found: tuple[Serving, ...], options: Options) -> None:
    """Each setting of the first deployment stands in the plan."""
    serving = found[0]
    chosen = settings(serving, options)
    assert chosen == {
        "model": "/models/llama-3.1-8b",
        "served-model-name": "helpdesk",
        "max-model-len": 24 * 1024,
        "max-num-seqs": serving.deployment.max_batch,
        "max-num-batched-tokens": 8192,  # the release's default on an H100
        "tensor-parallel-size": 1,
        "kv-cache-dtype": "auto",
        "gpu-memory-utilization": 0.92,
        "port": 8000,
    }


def test_shapes_become_flags(changed: Callable[..., Plan], options: Options) -> None:
    """Sizes of one are left out; expert parallelism is a switch."""
    plan = changed(parallel="tp1-dp2-ep", gpus=4)
    chosen = settings(servings(plan, options, engine="vllm", source="plan.json")[0], options)
    assert chosen["data-parallel-size"] == 2 and chosen["enable-expert-parallel"] is True
    assert ["--enable-expert-parallel"] in arguments(chosen)
    assert "pipeline-parallel-size" not in chosen
    plan = changed(parallel="tp2-pp2-dcp2", gpus=8, gpus_per_node=4)
    chosen = settings(servings(plan, options, engine="vllm", source="plan.json")[0], options)
    assert (chosen["pipeline-parallel-size"], chosen["decode-context-parallel-size"]) == (2, 2)


def test_kv_presets_become_the_engines_names(changed: Callable[..., Plan], options: Options) -> None:
    """vLLM's own names of KV dtypes, with underscores."""
    for preset, flag in (("fp8", "fp8"), ("int8-per-token-head", "int8_per_token_head"), ("nvfp4", "nvfp4")):
        found = servings(changed(kv_preset=preset), options, engine="vllm", source="plan.json")
        assert settings(found[0], options)["kv-cache-dtype"] == flag


def test_sglang_flags_have_sglangs_names(changed: Callable[..., Plan]) -> None:
    """The same plan values under SGLang's names; a memory share of 0 is SGLang's own rule, so it is not said."""
    _, found = _sglang(changed, kv_preset="sglang-fp8-e4m3", gpu_memory_utilization_ppm=880_000)
    chosen = settings(found[0], Options())
    assert chosen["context-length"] == 24 * 1024 and chosen["kv-cache-dtype"] == "fp8_e4m3"
    assert chosen["mem-fraction-static"] == 0.88 and chosen["chunked-prefill-size"] == 8192
    assert chosen["max-running-requests"] == found[0].deployment.max_batch
    _, found = _sglang(changed, gpu_memory_utilization_ppm=0)
    assert "mem-fraction-static" not in settings(found[0], Options())


def test_the_script_starts_each_deployment_with_its_flags(
    plan: Plan, found: tuple[Serving, ...], options: Options, run: Callable[..., Any]
) -> None:
    """A shell passes on exactly the settings of the deployment that is named, then whatever else is given."""
    script = shell_script(plan, found, options).text
    for serving in found:
        done = run(script, serving.name, "--seed", "1 2")
        expected = ["vllm", "serve", *(w for words in arguments(settings(serving, options)) for w in words)]
        assert json.loads(done.stdout) == [*expected, "--seed", "1 2"]


def test_the_script_names_its_deployments(
    plan: Plan, found: tuple[Serving, ...], options: Options, run: Callable[..., Any]
) -> None:
    """Without a deployment, or with an unknown one, it starts nothing and exits with 2."""
    for args in ((), ("helpdesk",), ("*",)):
        done = run(shell_script(plan, found, options).text, *args)
        assert (done.returncode, done.stdout) == (2, "")
        assert "helpdesk-1|helpdesk-2|helpdesk-3" in done.stderr


HOSTILE = [
    "$(touch owned)",
    "`touch owned`",
    "'; touch owned; '",
    'a" b',
    "a\\",
    "*) touch owned;;",
    "m&&touch owned",
    "ü",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_words(plan: Plan, tmp_path: Path, run: Callable[..., Any], text: str) -> None:
    """Whatever a model, a deployment or a path is called, the shell sees one word and runs nothing else."""
    first = next(iter(plan.deployments.values()))
    models = {text: replace(plan.scenario.models["helpdesk"], name=text)}
    scenario = replace(plan.scenario, name=f"s\n{text}", models=models)
    hostile = replace(plan, scenario=scenario, deployments={f"d{text}": replace(first, model=text)})
    options = Options(model_paths={text: f"/models/{text}"})
    found = servings(hostile, options, engine="vllm", source="plan.json")
    done = run(shell_script(hostile, found, options).text, f"d{text}")
    words = json.loads(done.stdout)
    assert words[:5] == ["vllm", "serve", f"/models/{text}", "--served-model-name", text]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "serve.sh"]
    assert yaml.safe_load(config_file(hostile, found[0], options).text)["served-model-name"] == text


@pytest.mark.parametrize("text", ["no", "1e3", "null", "0x10", "~", "a: b", "- a", "{x: 1}", "2026-11-22", "=", "!tag"])
def test_config_files_keep_texts_as_texts(plan: Plan, text: str) -> None:
    """Names that YAML could read as something else come back as they were."""
    options = Options(model_paths={"helpdesk": text if not text.startswith("-") else f"/{text}"})
    found = servings(plan, options, engine="vllm", source="plan.json")
    assert yaml.safe_load(config_file(plan, found[0], options).text)["model"] == options.model_paths["helpdesk"]


def test_a_config_file_is_the_command_line(plan: Plan, found: tuple[Serving, ...], options: Options) -> None:
    """The file has the settings of the script, with YAML's own types."""
    for serving in found:
        file = config_file(plan, serving, options)
        assert file.name == f"{serving.name}.yaml"
        assert yaml.safe_load(file.text) == settings(serving, options)


def test_ranks_of_a_replica_over_nodes_come_from_the_environment(
    changed: Callable[..., Plan], options: Options, run: Callable[..., Any]
) -> None:
    """Rank 0 serves, the others are headless; without a rank nothing starts."""
    plan = changed(parallel="tp2-pp2", gpus=8)
    script = shell_script(plan, servings(plan, options, engine="vllm", source="plan.json"), options).text
    assert run(script, "helpdesk-1").returncode != 0
    for rank, headless in (("0", []), ("1", ["--headless"])):
        words = json.loads(run(script, "helpdesk-1", NODE_RANK=rank, MASTER_ADDR="10.0.0.1").stdout)
        tail = ["--node-rank", rank, "--master-addr", "10.0.0.1", *headless]
        assert words[-len(tail) :] == tail
        assert words[words.index("--nnodes") + 1] == "2"


def test_sglang_starts_its_own_server(changed: Callable[..., Plan], run: Callable[..., Any]) -> None:
    """The module that every release of 0.5 has."""
    plan, found = _sglang(changed)
    words = json.loads(run(shell_script(plan, found, Options()).text, "helpdesk-1").stdout)
    assert words[:5] == ["python3", "-m", "sglang.launch_server", "--model-path", "/m"]
    assert words[-3:] == ["0.0.0.0", "--port", "8000"]
