"""`kvplan catalog`: what kvplan knows about the world, and prices from a list of yours."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from planner.cli.import_latency import import_latency
from planner.cli.output import check_target, say, say_error, width, write_whole
from planner.errors import Diagnostic, InputError

KINDS = ("models", "gpus", "engines", "presets")


@click.group(short_help="Models, GPUs, engines, presets with sources; prices.")
def catalog() -> None:
    """Models, GPUs, engine releases and KV presets with their sources, and prices from a list of yours.

    \b
    Examples:
      kvplan catalog list gpus
      kvplan catalog show h100-sxm-80gb
      kvplan catalog import ~/.sky/catalogs/v8/nebius/vms.csv --region eu-north1
    """


@catalog.command("list", short_help="What is known.")
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS), metavar="[models|gpus|engines|presets]...")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_command(kinds: tuple[str, ...], form: str) -> None:
    """List models, GPUs, engines and presets; with --format json every figure with its source.

    \b
    Example:
      kvplan catalog list gpus presets
    """
    from planner.report.catalog import catalog_json, catalog_text

    wanted = [kind for kind in KINDS if kind in kinds] or list(KINDS)
    say(catalog_json(wanted) if form == "json" else catalog_text(wanted, width()))


@catalog.command("show", short_help="One entry with its source.")
@click.argument("name", metavar="ID")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def show(name: str, form: str) -> None:
    """Show every figure of a model, GPU, engine release or preset, and where it comes from.

    \b
    Example:
      kvplan catalog show llama-3.3-70b-instruct
    """
    from difflib import get_close_matches

    from planner.report.catalog import entry_json, entry_text, find, known_ids, refused_models

    found = find(name)
    if found is None:
        why = refused_models().get(name)
        if why is not None:
            raise click.UsageError(f"the catalog has the config of {name!r} and no facts: {why}")
        near = get_close_matches(name.lower(), known_ids(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "`kvplan catalog list` names the known ones"
        raise click.UsageError(f"the catalog has no {name!r}; {hint}")
    kind, entry = found
    say(entry_json(kind, name, entry) if form == "json" else entry_text(kind, name, entry, width()))


def _named(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    from planner.catalog import gpu_ids

    named = {}
    for text in texts:
        name, equals, gpu = text.partition("=")
        if not equals or not name or gpu not in gpu_ids():
            raise click.BadParameter(f"{text!r} is not NAME=GPU with a GPU of `kvplan catalog list gpus`")
        named[name] = gpu
    return named


@catalog.command("import", short_help="Inventory blocks from a price list.")
@click.argument("file", type=click.Path(), metavar="FILE")
@click.option("--region", "regions", multiple=True, metavar="NAME", help="Only this region.")
@click.option("--gpu", "gpus", multiple=True, metavar="ID", help="Only this GPU of the catalog.")
@click.option("--spot/--no-spot", "spot", default=False, help="Spot offers too; the default is on demand only.")
@click.option(
    "--as", "named", multiple=True, metavar="NAME=GPU", callback=_named, help="What a name in the list means."
)
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(min=1, max=100_000), help="Nodes of each.")
@click.option("--name", "prefix", metavar="TEXT", help="How pool names begin; the default is the file's folder.")
@click.option("--currency", default="$", show_default=True, type=click.Choice(["$", "€", "£"]))
@click.option("--date", metavar="YYYY-MM-DD", help="When the list was read; the default is the file's own date.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the blocks to a file instead.")
def import_command(
    file: str,
    regions: tuple[str, ...],
    gpus: tuple[str, ...],
    spot: bool,
    named: dict[str, str],
    nodes: int,
    prefix: str | None,
    currency: str,
    date: str | None,
    output: str | None,
) -> None:
    """Make inventory blocks from prices in the format of SkyPilot's catalog (vms.csv).

    Rows that are no offers (no GPU, placeholder prices, fractions of a GPU, unclear names) are counted on stderr.

    \b
    Example:
      kvplan catalog import ~/.sky/catalogs/v8/nebius/vms.csv --region eu-north1 --gpu h100-sxm-80gb
    """
    from dataclasses import replace

    from planner.catalog import gpu_ids
    from planner.catalog.skypilot import read_prices
    from planner.report.catalog import inventory_yaml, left_out_text, pool_names

    for gpu in gpus:
        if gpu not in gpu_ids():
            raise click.UsageError(f"the catalog has no GPU {gpu!r}; `kvplan catalog list gpus` names the known ones")
    if output is not None:
        check_target(output, {file})
    day = _day(date, file)
    prices = read_prices(_text(file), gpu_ids(), named)
    if isinstance(prices, str):
        raise InputError([Diagnostic(file, 0, 0, "KV704", f"the price list {prices}")])
    wanted = tuple(
        offer
        for offer in prices.offers
        if (spot or not offer.spot) and (not regions or offer.region in regions) and (not gpus or offer.gpu in gpus)
    )
    for line in left_out_text(prices, len(wanted)):
        say_error(f"{file}: {line}")
    if not wanted:
        message = "no offer is left; widen --region, --gpu or --spot, or say with --as what the names mean"
        raise InputError([Diagnostic(file, 0, 0, "KV704", message)])
    cloud = Path(file).absolute().parent.name if prefix is None else prefix
    origin = f"SkyPilot catalog {'/'.join(Path(file).absolute().parts[-2:])}"
    text = inventory_yaml(replace(prices, offers=wanted), origin, day, currency, nodes, pool_names(wanted, cloud))
    if output is None:
        say(text)
    else:
        write_whole(output, text)


def _day(date: str | None, file: str) -> str:
    if date is None:
        try:
            return datetime.fromtimestamp(Path(file).stat().st_mtime, UTC).date().isoformat()
        except (OSError, ValueError):
            return datetime.now(UTC).date().isoformat()
    try:
        return datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        raise click.BadParameter(f"{date!r} is no day; write it like 2026-11-22", param_hint="--date") from None


def _text(file: str) -> str:
    from planner.catalog.files import read_text_file
    from planner.catalog.skypilot import MOST_BYTES

    text, reason = read_text_file(file, MOST_BYTES)
    if reason:
        raise InputError([Diagnostic(file, 0, 0, "KV704", f"cannot read the price list: {reason}")])
    return text


catalog.add_command(import_latency)
