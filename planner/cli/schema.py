"""`kvplan schema`: the JSON Schemas that editors and tools read."""

from __future__ import annotations

from pathlib import Path

import click

from planner.cli.output import check_target, say, write_whole

SCHEMAS = Path(__file__).resolve().parent.parent / "schema"


@click.command(short_help="JSON Schemas of scenarios, plans and diffs.")
@click.argument("document", type=click.Choice(["scenario", "plan", "diff"]))
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the schema to a file instead.")
def schema(document: str, output: str | None) -> None:
    """Print the JSON Schema of a kind of document.

    Editors with a YAML language server complete and check a scenario whose first line is
    `# yaml-language-server: $schema=FILE`.

    \b
    Example:
      kvplan schema scenario -o scenario.v1.json
    """
    text = schema_text(document)
    if output is None:
        say(text)
        return
    check_target(output)
    write_whole(output, text)


def schema_text(document: str) -> str:
    """The schema as it ships."""
    return (SCHEMAS / f"{document}.v1.json").read_text(encoding="utf-8")
