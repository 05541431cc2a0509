"""Engine flags as a shell script and as files for `--config`."""

from __future__ import annotations

import shlex

from planner.export.files import File, document, header
from planner.export.flags import COMMANDS, ENGINE_NAMES, arguments, rank_arguments, settings
from planner.export.names import file_name
from planner.export.serving import Options, Serving
from planner.plan.types import Plan

SCRIPT = "flags template 1"
"""Version of the scripts and files of this module; it goes up when what they contain changes."""


def shell_script(plan: Plan, found: tuple[Serving, ...], options: Options) -> File:
    """One POSIX script for all deployments: its first argument says which one this machine starts."""
    engines = ", ".join(sorted({f"{ENGINE_NAMES[s.engine.name]} {s.engine.version}" for s in found}))
    lines = [f"{s.name}: {_what(s)}" for s in found]
    notes = [f"{s.name}: {note}" for s in found for note in s.notes]
    names = "|".join(s.name for s in found)
    usage = shlex.quote(f"usage: serve.sh {names} [more flags]")
    return File(
        "serve.sh",
        "#!/bin/sh\n"
        + header(plan, f"{SCRIPT} for {engines}", [*lines, *notes])
        + 'set -eu\ncase "${1-}" in\n'
        + "".join(_case(serving, options) for serving in found)
        + f"*)\n    printf '%s\\n' {usage} >&2\n    exit 2\n    ;;\nesac\n",
    )


def config_file(plan: Plan, serving: Serving, options: Options) -> File:
    """A file for `vllm serve --config FILE`, or SGLang's `--config FILE`: one deployment, all of its settings."""
    engine = serving.engine
    start = f"{' '.join(COMMANDS[engine.name])} --config {file_name(serving.name)}.yaml"
    lines = [f"{serving.name}: {_what(serving)}", *serving.notes]
    if serving.nodes_per_replica > 1:
        start += " " + " ".join(rank_arguments(engine.name, "RANK", "ADDRESS_OF_RANK_0"))
        start += " (--headless from rank 1 on)" if engine.name == "vllm" else ""
    head = header(plan, f"{SCRIPT} for {ENGINE_NAMES[engine.name]} {engine.version}: {start}", lines)
    return File(f"{file_name(serving.name)}.yaml", head + document({**settings(serving, options)}))


def _what(serving: Serving) -> str:
    deployment = serving.deployment
    pools = ", ".join(f"{count} on {pool}" for pool, count in sorted(deployment.pools.items()))
    word = "replica" if deployment.replicas == 1 else "replicas"
    return f"{deployment.replicas} {word} of {deployment.parallel} ({pools})"


def _case(serving: Serving, options: Options) -> str:
    engine = serving.engine.name
    lines = [shlex.join(COMMANDS[engine]), *(shlex.join(words) for words in arguments(settings(serving, options)))]
    before = ""
    if serving.nodes_per_replica > 1:
        words = rank_arguments(engine, "NODE_RANK", "MASTER_ADDR")
        lines.append(" ".join(words).replace("NODE_RANK", '"$NODE_RANK"').replace("MASTER_ADDR", '"$MASTER_ADDR"'))
        before = ': "${NODE_RANK:?rank of this node, from 0}" "${MASTER_ADDR:?address of rank 0}"\n    '
        if engine == "vllm":
            before += 'if [ "$NODE_RANK" -gt 0 ]; then set -- --headless "$@"; fi\n    '
    if engine == "vllm":
        lines[:2] = [f"{lines[0]} {lines[1]}"]
    body = " \\\n        ".join([*lines, '"$@"'])
    return f"{shlex.quote(serving.name)})\n    shift\n    {before}exec {body}\n    ;;\n"
