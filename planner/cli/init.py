"""`kvplan init`: a commented scenario to start from."""

from __future__ import annotations

import os
from pathlib import Path

import click

from planner.cli.output import check_target, fail, say_error, write_whole
from planner.cli.schema import schema_text

STARTER = Path(__file__).resolve().parent.parent / "scenario" / "starter.yaml"
SCHEMA_NAME = "kvplan.scenario.v1.json"


@click.command(short_help="A commented scenario to start from.")
@click.argument("file", type=click.Path(), default="scenario.yaml", metavar="[FILE]")
@click.option("--no-schema", is_flag=True, help="Write no JSON Schema for the editor beside the scenario.")
def init(file: str, no_schema: bool) -> None:
    """Write a commented scenario that validates and solves, and the JSON Schema that its first line names.

    FILE is scenario.yaml unless you name another. A file that exists is never overwritten.

    \b
    Example:
      kvplan init scenarios/my-service.yaml
    """
    path = Path(file)
    schema = path.with_name(SCHEMA_NAME)
    text = STARTER.read_text(encoding="utf-8")
    if no_schema:
        text = text.partition("\n")[2]
    if os.path.lexists(file):
        fail(f"kvplan: {file} exists; name another file, or remove it", 1)
    check_target(file)
    shipped = schema_text("scenario")
    if not no_schema and os.path.lexists(schema) and not _holds(schema, shipped):
        fail(f"kvplan: {schema} exists and is another file; remove it, or leave it alone with --no-schema", 1)
    if not no_schema and not schema.exists():
        write_whole(str(schema), shipped)
    write_whole(file, text)
    say_error(f"wrote {file}; next: kvplan solve {file}")


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False
