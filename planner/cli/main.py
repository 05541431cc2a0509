"""The `kvplan` command: its sub-commands and what happens to errors."""

from __future__ import annotations

import io
import os
import sys

import click

from planner import __version__
from planner.cli.catalog import catalog
from planner.cli.check import check
from planner.cli.diff import diff
from planner.cli.explain import explain
from planner.cli.export import export
from planner.cli.init import init
from planner.cli.interrupt import watch_interrupts
from planner.cli.kv import kv
from planner.cli.latency import latency
from planner.cli.locked import locked
from planner.cli.output import EXIT_BUG, EXIT_INPUT, EXIT_INTERRUPTED, INTERRUPTED, fail
from planner.cli.profile import profile
from planner.cli.regret import regret
from planner.cli.report import report
from planner.cli.schema import schema
from planner.cli.simulate import simulate
from planner.cli.solve import solve
from planner.cli.sweep import sweep
from planner.cli.trace import trace
from planner.cli.validate import validate
from planner.cli.verify import verify
from planner.cli.what_if import what_if
from planner.errors import InputError
from planner.report.printable import printable


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="kvplan")
def kvplan() -> None:
    """Plan GPU capacity for LLM serving: a YAML scenario in, a proved and checked plan out.

    \b
    Start here:
      kvplan validate scenarios/prod.yaml
      kvplan solve scenarios/prod.yaml -o plan.json
      kvplan check plan.json
      kvplan kv llama-3.1-8b --gpu h100-sxm-80gb
      kvplan latency llama-3.1-8b --gpu h100-sxm-80gb --input 1024 --output 256
      kvplan profile list

    \b
    Exit codes: 0 done, 1 wrong input, 2 wrong command line, 3 proved infeasible, 4 no plan in the time limit,
    5 a guardrail crossed (--fail-on) or the plan off (verify), 6 check disproved the plan or it is not as locked,
    7 a promise failed in a replay, 10 plans differ (--exit-code), 70 a bug in kvplan, 130 interrupted.
    """


for command in (
    solve,
    validate,
    check,
    simulate,
    verify,
    explain,
    diff,
    what_if,
    sweep,
    regret,
    kv,
    latency,
    profile,
    report,
    export,
    locked,
    catalog,
    init,
    schema,
    trace,
):
    kvplan.add_command(command)


def main() -> None:
    """Runs the command line and turns every error into a message and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a currency sign must not break an ASCII terminal
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as some daemons do: the plan is still wanted
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, "w")))
    watch_interrupts()
    try:
        for word in sys.argv[1:]:
            if not word.isprintable() and any(0xD800 <= ord(char) <= 0xDFFF for char in word):
                raise click.UsageError(f"{word!r} is not UTF-8 text")
        code = kvplan.main(standalone_mode=False, prog_name="kvplan")
        sys.stdout.flush()
    except InputError as error:
        fail(str(error), EXIT_INPUT)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(file=shown)
        fail("\n".join(printable(line) for line in shown.getvalue().splitlines()), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        fail(INTERRUPTED, EXIT_INTERRUPTED)
    except Exception as error:  # the last line of defense: no traceback reaches a user unasked
        if os.environ.get("KVPLAN_DEBUG"):
            raise
        fail(f"kvplan: a bug in kvplan: {type(error).__name__}: {error} (KVPLAN_DEBUG=1 shows where)", EXIT_BUG)
    sys.exit(code if isinstance(code, int) else 0)
