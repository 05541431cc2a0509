"""`kvplan check`: does a plan hold, derived again without the solver?"""

from __future__ import annotations

import json

import click

from planner.cli.output import EXIT_DISPROVED, say


@click.command(short_help="Derive a plan again without the solver.")
@click.argument("plan_file", type=click.Path(), metavar="PLAN")
@click.option("--no-hash", is_flag=True, help="Do not compare the document's hash, only what it says.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def check(plan_file: str, no_hash: bool, form: str) -> int:
    """Derive every row of a plan again, without the solver; exit 6 names what does not hold.

    \b
    Example:
      kvplan solve scenarios/prod.yaml -o plan.json && kvplan check plan.json
    """
    from planner.plan.check import check_tree
    from planner.plan.io import read_tree

    plan, findings = check_tree(read_tree(plan_file), plan_file, use_hash=not no_hash)
    if form == "json":
        rows = [{"row": f.row, "stored": f.stored, "derived": f.derived} for f in findings]
        document = {"plan": plan_file, "holds": not findings, "hash_checked": not no_hash, "findings": rows}
        say(json.dumps(document, indent=2, sort_keys=True))
    elif findings:
        count = "1 value does" if len(findings) == 1 else f"{len(findings)} values do"
        say(f"{plan_file}: DISPROVED, {count} not hold")
        for finding in findings:
            say(f"  {finding}")
    else:
        rows_checked = "every value derived again, every row exact"
        if plan.totals is None:
            rows_checked = f"what was refused derived again; that it is {plan.status} is not proved again here"
        say(f"{plan_file}: holds ({plan.status}; {rows_checked}{'' if no_hash else ', hash equal'})")
    return EXIT_DISPROVED if findings else 0
