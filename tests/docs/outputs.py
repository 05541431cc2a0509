"""What the documents show is what the command prints: runs the commands of their output blocks.

A block stands between `<!-- output: COMMAND -->` and `<!-- /output -->`. COMMAND is what a reader would type in the
repository's root: `kvplan ...` or a plain shell command, several joined by ` && `, each with ` | head -N` if only its
start is shown. `python tests/docs/outputs.py` renews all blocks, the worked example of docs/model.md and the expected
outputs of the examples; `test_docs.py` fails when one is stale. Seconds differ between runs and are not compared.
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
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(<!-- output: (.+?) -->\n)(.*?)(<!-- /output -->)", re.DOTALL)
WORKED = re.compile(r"(<!-- worked example -->\n).*?(<!-- /worked example -->)", re.DOTALL)
SECONDS = re.compile(r"\d+\.\d s; kvplan")
COLUMNS = 100


def documents() -> list[Path]:
    """The documents with output blocks."""
    return [
        ROOT / "README.md",
        ROOT / "docs/cli.md",
        ROOT / "docs/kv.md",
        ROOT / "docs/compression.md",
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
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)
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


_plans: dict[tuple[str, str, float], Any] = {}


def _planned(scenario: Any, options: Any = None, file: str = "") -> Any:
    """`pipeline.plan`, once for each scenario and file name: documents show the same plan again and again."""
    key = (repr(scenario), file, options.time_limit_s)
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


def with_worked_example(text: str) -> str:
    """docs/model.md with the table of its worked example computed now."""
    spec = spec_from_file_location("worked", Path(__file__).with_name("worked.py"))
    assert spec is not None and spec.loader is not None
    worked = module_from_spec(spec)
    spec.loader.exec_module(worked)
    return WORKED.sub(lambda found: found[1] + worked.table() + found[2], text)


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
    page = ROOT / "docs/model.md"
    fresh = with_worked_example(page.read_text(encoding="utf-8"))
    if fresh != page.read_text(encoding="utf-8"):
        page.write_text(fresh, encoding="utf-8")
        sys.stdout.write("renewed docs/model.md\n")
    for folder in examples():
        for name, text in expected(folder).items():
            path = folder / name
            if not path.exists() or masked(path.read_text(encoding="utf-8")) != masked(text):
                path.write_text(text, encoding="utf-8")
                sys.stdout.write(f"renewed {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
