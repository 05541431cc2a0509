"""`kvplan profile`: what is known of KV presets, and how it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from planner.cli.output import (
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    check_target,
    fail,
    say,
    say_error,
    width,
    write_whole,
)
from planner.errors import Diagnostic, InputError

if TYPE_CHECKING:
    from planner.calculator.profile import Profile, Ratios

WITHOUT_TORCH = (
    "kvplan: measuring needs torch and transformers: pip install 'kvplan[validate]'. "
    "`profile list`, `profile show` and `solve` work from the evidence that ships with kvplan and need neither"
)


@click.group(short_help="KV presets: claims, evidence, verdicts.")
def profile() -> None:
    """Say what is known of KV presets: claims beside measurements, and what a plan may rest on.

    \b
    Examples:
      kvplan profile list
      kvplan profile show nexusquant-max@0.4.0
      kvplan profile show turboquant-4bit-nc --scenario scenarios/prod.yaml
      kvplan profile validate --tier 1
    """


@profile.command("list", short_help="Every preset with its verdicts.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_presets(form: str) -> int:
    """List every preset: what is claimed, what its bytes are, what evidence says.

    \b
    Examples:
      kvplan profile list
      kvplan profile list --format json
    """
    from planner.calculator.profile import profiles
    from planner.report.profile import list_text
    from planner.report.profile_json import list_json

    rows = profiles()
    say(list_json(rows) if form == "json" else list_text(rows, width()))
    return EXIT_OK


@profile.command(short_help="One preset: claims beside measurements.")
@click.argument("name", metavar="ID")
@click.option("--model", default=None, metavar="MODEL", help="Model of the ratios.  [default: llama-3.3-70b-instruct]")
@click.option("--scenario", type=click.Path(), metavar="FILE", help="Where it is eligible in a scenario, and why not.")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Override a value, as in `solve`.")
@click.option("--value", is_flag=True, help="With --scenario: what the plan's presets save (solves several times).")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("-o", "--output", metavar="FILE.svg", help="Write the curve of ratios as a picture.")
def show(
    name: str,
    model: str | None,
    scenario: str | None,
    sets: tuple[str, ...],
    value: bool,
    form: str,
    output: str | None,
) -> int:
    """Show a preset's claims beside what was measured, with verdicts, and its ratio by context.

    ID is an id (fp8) or an id with its version (nexusquant-max@0.4.0).

    \b
    Examples:
      kvplan profile show nexusquant-balanced@0.4.0
      kvplan profile show fp8 --scenario scenarios/prod.yaml
      kvplan profile show kivi-2bit --model llama-3.1-8b -o kivi.svg
    """
    if (sets or value) and scenario is None:
        raise click.UsageError("--set and --value go with --scenario")
    if value and form == "json":
        raise click.UsageError(
            "--value is a page of its own; `kvplan solve --preset-value --format json` has the numbers"
        )
    if output is not None:
        if not output.endswith(".svg"):
            raise click.UsageError("-o writes the curve as a picture: its name ends in .svg")
        check_target(output, [scenario] if scenario else [])
    from planner.calculator.profile import DEFAULT_MODEL, find_profile

    row = find_profile(name)
    if isinstance(row, str):
        raise InputError([Diagnostic("ID", 0, 0, "KV701", row)])
    found = _ratios(row, model or DEFAULT_MODEL)
    if output is not None:
        if not found.curve:
            raise click.UsageError(f"there is no curve to draw: {found.note}")
        from planner.report.profile_curve import ratio_svg

        write_whole(output, ratio_svg(row.preset.name, found))
    return _show(row, found, scenario, sets, value, form)


def _ratios(row: Profile, model: str) -> Ratios:
    from planner.calculator.profile import ratios
    from planner.catalog import load_model

    facts = load_model(model, Path())
    if isinstance(facts, str):
        raise InputError([Diagnostic("--model", 0, 0, "KV417", facts)])
    return ratios(row.preset, facts)


def _show(row: Profile, found: Ratios, file: str | None, sets: tuple[str, ...], value: bool, form: str) -> int:
    from planner.report.profile import scenario_text, show_text
    from planner.report.profile_curve import ratio_text
    from planner.report.profile_json import show_json

    eligible = None
    loaded = None
    if file is not None:
        from planner import pipeline
        from planner.calculator.eligibility import eligibility

        loaded = pipeline.load(file, sets)
        eligible = eligibility(loaded, row.preset)
    if form == "json":
        say(show_json(row, found, eligible))
        return EXIT_OK
    parts = [show_text(row, found, width()), ratio_text(found, width())]
    if loaded is not None and eligible is not None:
        parts.append(scenario_text(loaded.name, *eligible, width()))
        if value:
            from planner.report.preset_value import value_text

            plan = pipeline.plan(loaded, pipeline.Options(preset_value=True), file or "")
            parts.append(value_text(plan, width()))
    say("\n".join(part for part in parts if part))
    return EXIT_OK


@profile.command(short_help="Measure presets with torch.")
@click.argument("names", nargs=-1, metavar="[ID]...")
@click.option(
    "--tier", type=click.IntRange(0, 2), default=1, show_default=True, help="0 codecs, 1 minutes, 2 evidence."
)
@click.option("--model", type=click.Path(), metavar="PATH", help="GGUF file or Hugging Face folder.  [SmolLM2-135M]")
@click.option("--text", "texts", multiple=True, metavar="NAME|FILE", help="topics, anarchism, or a UTF-8 file.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="The evidence file.  [stdout]")
def validate(
    names: tuple[str, ...], tier: int, model: str | None, texts: tuple[str, ...], threads: int, output: str | None
) -> int:
    """Measure presets: packed bytes and errors (tier 0), perplexity on a real model (tiers 1 and 2).

    Without ID every preset is measured that the tier has. Finished work is kept in a journal: an interrupted run
    resumes with the same command. Progress goes to stderr, the evidence to stdout or -o.

    \b
    Examples:
      kvplan profile validate --tier 0
      kvplan profile validate fp8 kivi-2bit --tier 1
      kvplan profile validate --tier 2 --text topics --text anarchism -o evidence.json
      kvplan profile validate fp8 --model ./model.gguf -o mine.json
    """
    if tier == 0 and (model or texts or output):
        raise click.UsageError("tier 0 reads no model and no text and makes no evidence: leave out --model, --text, -o")
    codecs = _codecs(names)
    if not _has_torch():
        fail(WITHOUT_TORCH, EXIT_INPUT)
    if output is not None:
        check_target(output, [*([model] if model else []), *(text for text in texts if Path(text).exists())])
    if tier == 0:
        return _tier0(codecs)
    return _measured(codecs, tier, model, texts, threads, output)


def _measured(
    codecs: list[str], tier: int, model: str | None, texts: tuple[str, ...], threads: int, output: str | None
) -> int:
    """The evidence, written; exit 1 where something is missing or 16-bit KV itself does not come out unchanged."""
    from planner.compression.evidence import CONTROL_LIMIT_PCT, to_json
    from planner.compression.language_model import ValidationError
    from planner.compression.validate_run import make_evidence

    try:
        evidence = make_evidence(codecs, 1 if tier == 1 else 2, Path(model) if model else None, texts, threads)
    except ValidationError as error:
        fail(f"kvplan: {error}", EXIT_INPUT)
    except KeyboardInterrupt:
        fail("\nkvplan: interrupted; the same command resumes from the journal", EXIT_INTERRUPTED)
    if output is not None:
        write_whole(output, to_json(evidence))
    else:
        say(to_json(evidence))
    off = [quality for quality in evidence.control if abs(quality.ppl.mean_pct) >= CONTROL_LIMIT_PCT]
    for quality in off:
        say_error(f"kvplan: 16-bit control off by {quality.ppl.mean_pct:+.3f} % ({quality.protocol})")
    return EXIT_INPUT if off else EXIT_OK


def _has_torch() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None and find_spec("transformers") is not None


def _codecs(names: tuple[str, ...]) -> list[str]:
    """The compositions behind preset names; a composition may be named by itself."""
    from planner.calculator.profile import find_profile
    from planner.compression.codecs_data import kv_ids

    found, wrong = [], []
    for name in dict.fromkeys(names):
        row = find_profile(name)
        if not isinstance(row, str) and row.preset.codec:
            found.append(row.preset.codec)
        elif name in kv_ids():
            found.append(name)
        else:
            message = row if isinstance(row, str) else f"{name}: no codec computes it, so it cannot be measured"
            wrong.append(Diagnostic("ID", 0, 0, "KV701", message))
    if wrong:
        raise InputError(wrong)
    return list(dict.fromkeys(found))


def _tier0(names: list[str]) -> int:
    from planner.compression.codecs_tier0 import tier0_findings

    wrong = 0
    for name, findings in tier0_findings(names):
        wrong += bool(findings)
        say(f"{name}: {'ok' if not findings else '; '.join(findings)}")
    return EXIT_INPUT if wrong else EXIT_OK
