"""What the documents show is what the command prints: runs the commands of their output blocks.

A block stands between `<!-- output: COMMAND -->` and `<!-- /output -->`. COMMAND is what a reader would type in the
repository's root: `kvplan ...` or a plain shell command, several joined by ` && `, each with ` | head -N` if only its
start is shown. `python tests/docs/outputs.py` renews all blocks, the computed tables of docs/model.md and
docs/memory.md and the expected outputs of the examples; `test_docs.py` fails when one is stale. Seconds differ between
runs and are not compared.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(<!-- output: (.+?) -->\n)(.*?)(<!-- /output -->)", re.DOTALL)
WORKED = re.compile(r"(<!-- (worked example|rule sets) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
SECONDS = re.compile(r"\d+\.\d s; kvplan")
COLUMNS = 100
GIT = {
    **{f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "ada@example.com" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_DATE": "2026-11-20T09:00:00Z" for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
"""Commits in documents come out the same for everybody."""


def documents() -> list[Path]:
    """The documents with output blocks."""
    pages = ("cli", "compression", "explain", "incident", "kv", "latency", "tutorial")
    return [
        ROOT / "README.md",
        *(ROOT / f"docs/{name}.md" for name in pages),
        *sorted(ROOT.glob("examples/*/README.md")),
    ]


def examples() -> list[Path]:
    """The folders of the examples."""
    return sorted(path.parent for path in ROOT.glob("examples/*/scenario.yaml"))


def masked(text: str) -> str:
    """The text without what no two runs share."""
    return SECONDS.sub("_ s; kvplan", text)


def renewed(text: str) -> str:
    """A document with every block as the command prints it now; a block that differs in seconds only stays."""

    def block(found: re.Match[str]) -> str:
        fresh = f"\n```text\n{session(found[2])}```\n\n"
        kept = found[3] if masked(found[3]) == masked(fresh) else fresh
        return found[1] + kept + found[4]

    return BLOCK.sub(block, text)


@cache
def session(commands: str) -> str:
    """What a terminal shows for the commands: each after a prompt, its output, its exit code if that is not 0."""
    lines = []
    with _workspace():
        for typed in commands.split(" && "):
            line, _, head = typed.partition(" | head -")
            words = shlex.split(line)
            if words[0] == "cd":
                os.chdir(words[1])
                code, text = 0, ""
            else:
                code, text = run(words[1:]) if words[0] == "kvplan" else _shell(line)
            shown = text.splitlines(keepends=True)
            lines += [f"$ {typed}\n", *(shown[: int(head)] if head else shown)]
            if code:
                lines.append(f"$ echo $?\n{code}\n")
    return "".join(lines)


@contextmanager
def _workspace() -> Iterator[None]:
    """A folder that looks like the repository's root and may be written to."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("examples", "scenarios"):
            Path(folder, name).symlink_to(ROOT / name)
        with chdir(folder):
            yield


def _shell(line: str) -> tuple[int, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env = {**kept, **GIT, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False, env=env)
    return done.returncode, done.stdout + done.stderr


def run(arguments: Sequence[str]) -> tuple[int, str]:
    """Exit code and everything that the command prints, in this process."""
    from planner import pipeline
    from planner.cli import main as cli

    _solver()
    printed = io.StringIO()
    with ExitStack() as stack:
        stack.enter_context(patch.object(sys, "argv", ["kvplan", *arguments]))
        stack.enter_context(patch.object(cli, "watch_interrupts", lambda: None))
        stack.enter_context(patch.object(pipeline, "plan", _planned))
        stack.enter_context(patch.dict(os.environ, {"COLUMNS": str(COLUMNS), "LINES": "25"}))
        stack.enter_context(redirect_stdout(printed))
        stack.enter_context(redirect_stderr(printed))
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0), printed.getvalue()
    raise AssertionError("the command always exits")


@cache
def _solver() -> Any:
    """The real `pipeline.plan`, taken before it is patched."""
    from planner import pipeline

    return pipeline.plan


_plans: dict[tuple[str, str, str], Any] = {}


def _planned(scenario: Any, options: Any = None, file: str = "") -> Any:
    """`pipeline.plan`, once for each scenario, file name and options: documents show the same plan again and again."""
    key = (repr(scenario), file, repr(replace(options, progress=None)))
    if key not in _plans:
        _plans[key] = _solver()(scenario, options, file)
    return _plans[key]


def expected(folder: Path) -> dict[str, str]:
    """The expected outputs of an example: the page, and the essentials of the plan document as JSON."""
    path = f"examples/{folder.name}/scenario.yaml"
    with _workspace():
        page = run(["solve", path])[1]
        tree = json.loads(run(["solve", path, "--format", "json"])[1])
    essentials = {
        "status": tree["status"],
        "cost_per_h": tree["totals"]["cost_per_h"],
        "nodes": {name: pool["nodes"] for name, pool in tree["pools"].items() if pool["nodes"]},
        "deployments": {name: _essentials(deployment) for name, deployment in tree["deployments"].items()},
    }
    return {"expected.txt": page, "expected.json": json.dumps(essentials, indent=2, sort_keys=True) + "\n"}


WORKED_PAGES = {"docs/model.md": "worked", "docs/memory.md": "memory_worked"}
"""Pages with computed tables, and the module beside this one that computes them."""


def with_worked_example(text: str, page: str = "docs/model.md") -> str:
    """A page with the tables of its worked example and rule sets computed now."""
    name = WORKED_PAGES[page]
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    worked = module_from_spec(spec)
    spec.loader.exec_module(worked)

    def table(found: re.Match[str]) -> str:
        return found[1] + (worked.table() if found[2] == "worked example" else worked.rules()) + found[3]

    return WORKED.sub(table, text)


def _essentials(deployment: dict[str, Any]) -> dict[str, Any]:
    return {
        "gpu": deployment["gpu"],
        "replicas": deployment["replicas"],
        "parallel": deployment["parallel"],
        "kv_preset": deployment["kv_preset"],
        "context_limit_tokens": deployment["context_limit_tokens"],
        "load_ppm": {row["name"]: row["used_ppm"] for row in deployment["loads"]},
        "routing": {route["item"]: route["share"] for route in deployment["routing"]},
    }


def main() -> None:
    """Renews every block and every expected output in place."""
    for path in documents():
        text = path.read_text(encoding="utf-8")
        fresh = renewed(text)
        if fresh != text:
            path.write_text(fresh, encoding="utf-8")
            sys.stdout.write(f"renewed {path.relative_to(ROOT)}\n")
    for page in WORKED_PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        fresh = with_worked_example(text, page)
        if fresh != text:
            (ROOT / page).write_text(fresh, encoding="utf-8")
            sys.stdout.write(f"renewed {page}\n")
    for folder in examples():
        for name, text in expected(folder).items():
            path = folder / name
            if not path.exists() or masked(path.read_text(encoding="utf-8")) != masked(text):
                path.write_text(text, encoding="utf-8")
                sys.stdout.write(f"renewed {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
