"""Tests of `kvplan kv` from outside: pages, JSON, files, exit codes, what it loads, what the documents show."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
HEAVY = ("ortools", "torch", "pandas", "scipy", "numpy", "rich", "pydantic", "gguf")


def _run(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key != "KVPLAN_DEBUG"}
    environment = {**kept, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "planner", "kv", *args]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def test_json_of_a_log() -> None:
    """Tests the log of CodeLlama-7b through the command: one JSON document on stdout, nothing on stderr."""
    flags = ("--engine", "vllm@0.19", "--available-kv", "61.66GiB", "--max-model-len", "8192", "--format", "json")
    done = _run("codellama-7b", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    tree = json.loads(done.stdout)
    assert tree["bytes_per_token"] == 524_288
    assert tree["max_concurrency"] == 15.41
    assert abs(tree["pool_tokens"] - 126_256) <= 16


def test_nothing_heavy_is_loaded() -> None:
    """Tests that a page with a GPU loads no solver, no arrays, no rich, no table of presets."""
    code = (
        "import sys; from planner.cli import main; main.watch_interrupts = lambda: None\n"
        "sys.argv = ['kvplan', 'kv', 'gemma-3-27b', '--gpu', 'h100-sxm-80gb', '--explain']\n"
        "try: main.main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ((), 2, "a model is needed"),
        (("llama-3.1-8b", "--context", "8k"), 2, "8Ki (8,192) or 8_000"),
        (("llama-3.1-8b", "--gpu-memory-utilization", "92%"), 2, "like 0.92"),
        (("llama-3.1-8b", "--explain", "--fits"), 2, "one at a time"),
        (("llama-3.1-8b", "-o", "x.png"), 2, "ends in .svg"),
        (("llama-3.1-8b", "--fits", "-o", "x.svg"), 2, "no other page"),
        (("llama-3.1-8b", "-o", ""), 2, "ends in .svg"),
        (("llama-3.1-8b", "--published"), 2, "leave out llama-3.1-8b"),
        (("llama-3.1-8b", "--mamba-cache", "some"), 2, "none of none, align"),
        (("llama-3.1-8b", "--fromat", "json"), 2, "--format"),
        (("llama-3.1-8",), 1, "did you mean 'llama-3.1-8b'"),
        (("llama-3.1-8b", "--gpu", "h100"), 1, "h100-sxm-80gb"),
        (("llama-3.1-8b", "--tp", "3"), 1, "tp3 does not divide"),
        (("no/such-model",), 1, "no/such-model"),
        (("x\x1b[31m",), 1, "\\u001b[31m"),
    ],
)
def test_wrong_command_lines(args: tuple[str, ...], code: int, says: str) -> None:
    """Tests exit codes and messages: stdout stays empty, and nothing is written raw to the terminal."""
    done = _run(*args)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "\x1b" not in done.stderr and "Traceback" not in done.stderr


def test_mistakes_of_both_kinds_at_once() -> None:
    """Tests that a flag that cannot be read does not hide a name that is unknown."""
    done = _run("llama-9", "--batch", "0", "--gpu", "h100")
    assert done.returncode == 2
    assert all(flag in done.stderr for flag in ("--batch:", "--gpu:", "MODEL:"))


def test_the_curve_as_a_picture(tmp_path: Path) -> None:
    """Tests that -o writes a whole SVG, shows the curve on the terminal too, and leaves no other file."""
    done = _run("gemma-3-27b", "--gpu", "h100-sxm-80gb", "--curve", "-o", "kv.svg", cwd=tmp_path)
    assert done.returncode == 0 and "●" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["kv.svg"]
    text = (tmp_path / "kv.svg").read_text(encoding="utf-8")
    assert text.startswith("<svg") and text.endswith("</svg>\n")


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    """Tests that -o refuses to take the place of the model that is read, by whatever name."""
    config = {"model_type": "llama", "num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    (tmp_path / "kv.svg").symlink_to(tmp_path / "config.json")
    before = (tmp_path / "config.json").read_bytes()
    for model in (".", "config.json"):
        done = _run(model, "--curve", "-o", "kv.svg", cwd=tmp_path)
        assert done.returncode == 2 and "input" in done.stderr
    assert (tmp_path / "config.json").read_bytes() == before
    assert _run(".", "--curve", "-o", "/dev/null.svg", cwd=tmp_path).returncode in (1, 2)


def test_every_json_page_is_one_document() -> None:
    """Tests that --fits, --curve and --published print JSON that parses, with the version of its format."""
    for args in (("llama-3.1-8b", "--fits"), ("llama-3.1-8b", "--curve"), ("--published",)):
        done = _run(*args, "--format", "json")
        assert done.returncode == 0
        assert json.loads(done.stdout)["format_version"] == 1


def test_help_lists_examples_that_run() -> None:
    """Tests that every example of the help works as it stands."""
    text = _run("--help").stdout
    examples = re.findall(r"^ +kvplan kv (.+)$", text, re.M)
    assert len(examples) >= 6
    assert max(map(len, text.splitlines())) <= 100
    for example in examples:
        done = _run(*re.sub(r" -o \S+", "", example).split())
        assert (done.returncode, done.stderr) == (0, ""), example


def _outputs() -> ModuleType:
    spec = spec_from_file_location("outputs", ROOT / "tests/docs/outputs.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_shows_what_the_command_prints() -> None:
    """Tests the output blocks of docs/kv.md; `python tests/docs/outputs.py` renews them."""
    text = (ROOT / "docs/kv.md").read_text(encoding="utf-8")
    assert text.count("<!-- output: ") >= 5
    assert text == _outputs().renewed(text)


def test_the_document_lists_every_key() -> None:
    """Tests that docs/kv.md names every key of the JSON document."""
    table = (ROOT / "docs/kv.md").read_text(encoding="utf-8").partition("## JSON")[2]
    tree = json.loads(_run("llama-3.1-8b", "--gpu", "h100-sxm-80gb", "--format", "json").stdout)
    for key in {*tree, *tree["components"], *tree["rows"][0]} - {"format_version"}:
        assert f"`{key}`" in table, key
