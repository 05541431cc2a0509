"""`kvplan export` as its users run it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PATH = "helpdesk=/models/llama-3.1-8b"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def page_plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The plan file of the page scenario."""
    from planner import pipeline
    from planner.plan.io import to_json

    path = tmp_path_factory.mktemp("export") / "plan.json"
    path.write_text(to_json(pipeline.plan(pipeline.load(ROOT / "tests/data/scenarios/page.yaml"))), encoding="utf-8")
    return str(path)


def test_the_script_goes_to_standard_output(kvplan: Run, page_plan: str) -> None:
    """One document on stdout; what has to be made true by hand on stderr."""
    done = kvplan("export", page_plan, "--to", "vllm", "--model-path", PATH)
    assert done.returncode == 0 and done.stdout.startswith("#!/bin/sh\n")
    assert "exec vllm serve /models/llama-3.1-8b" in done.stdout
    assert "helpdesk-1: the checkpoint must be llama-3.1-8b with bf16 weights" in done.stderr


def test_missing_paths_are_wrong_input(kvplan: Run, page_plan: str) -> None:
    """Exit 1 with the flag to add, and nothing on stdout."""
    done = kvplan("export", page_plan, "--to", "kubernetes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--model-path helpdesk=PATH" in done.stderr


def test_a_folder_gets_every_file(kvplan: Run, page_plan: str, tmp_path: Path) -> None:
    """Script and config files, or manifests; their names are printed."""
    deployments = [f"{name}.yaml" for name in json.loads(Path(page_plan).read_text())["deployments"]]
    assert len(deployments) > 1
    for target, names in (
        ("vllm", {"serve.sh", *deployments}),
        ("kubernetes", {"alerts.yaml", "router-hints.yaml", *deployments}),
    ):
        folder = tmp_path / target
        done = kvplan("export", page_plan, "--to", target, "--model-path", PATH, "-o", f"{folder}/")
        assert done.returncode == 0, done.stderr
        assert {path.name for path in folder.iterdir()} == names
        assert {Path(line).name for line in done.stdout.splitlines()} == names


def test_one_config_file(kvplan: Run, page_plan: str, tmp_path: Path) -> None:
    """A name ending in .yaml takes one deployment's settings, and asks which where there are several."""
    target = tmp_path / "one.yaml"
    args = ("export", page_plan, "--to", "vllm", "--model-path", PATH, "-o", str(target))
    done = kvplan(*args)
    assert done.returncode == 2 and "add --deployment with one of helpdesk-1, helpdesk-2" in done.stderr
    assert not target.exists()
    assert kvplan(*args, "--deployment", "helpdesk-2").returncode == 0
    assert yaml.safe_load(target.read_text(encoding="utf-8"))["served-model-name"] == "helpdesk"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--to", "vllm", "--model-path", "helpdesk"), "is not NAME=VALUE"),
        (("--to", "vllm", "--model-path", PATH, "--model-path", PATH), "given twice"),
        (("--to", "vllm", "--model-path", PATH, "--deployment", "x"), "is not in the plan"),
        (("--to", "kubernetes", "--model-path", PATH, "--format", "sh"), "are for engine flags"),
        (("--to", "kubernetes", "--model-path", PATH, "--alerts", "file"), "-o FOLDER/"),
        (("--to", "kubernetes", "--model-path", PATH, "--pool-label", "a b"), "no label key"),
        (("--to", "kubernetes", "--model-path", PATH, "--namespace", "A"), "no DNS label"),
        (("--to", "kubernetes", "--model-path", PATH, "--image", "x=y"), "is no engine"),
        (("--to", "vllm", "--model-path", PATH, "-o", "{plan}"), "is an input"),
    ],
)
def test_wrong_command_lines(kvplan: Run, page_plan: str, args: tuple[str, ...], said: str) -> None:
    """Each ends with 2 and says what is wrong; the plan stays as it is."""
    before = Path(page_plan).read_bytes()
    done = kvplan("export", page_plan, *(page_plan if arg == "{plan}" else arg for arg in args))
    assert done.returncode == 2 and said in " ".join(done.stderr.split()), done.stderr
    assert Path(page_plan).read_bytes() == before


def test_a_scenario_is_never_overwritten(kvplan: Run, tmp_path: Path) -> None:
    """Neither an export nor a page takes the place of the scenario that its plan was made from."""
    scenario, plan = tmp_path / "page.yaml", tmp_path / "plan.json"
    text = (ROOT / "tests/data/scenarios/page.yaml").read_text(encoding="utf-8")
    scenario.write_text(text, encoding="utf-8")
    assert kvplan("solve", str(scenario), "-o", str(plan)).returncode == 0
    one = ("export", str(plan), "--to", "vllm", "--model-path", PATH, "--deployment", "helpdesk-1")
    for args in (one, ("report", str(plan), "--format", "md")):
        done = kvplan(*args, "-o", str(scenario))
        assert done.returncode == 2 and "is an input of this plan" in done.stderr
        assert scenario.read_text(encoding="utf-8") == text
