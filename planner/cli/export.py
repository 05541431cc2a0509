"""`kvplan export`: a plan as the files that deploy it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from planner.cli.inputs import files_of_plan
from planner.cli.output import check_target, say, say_error, write_whole

if TYPE_CHECKING:
    from planner.export.files import File
    from planner.export.serving import Options
    from planner.plan.types import Plan


@click.command(short_help="Plan to engine flags or Kubernetes manifests.")
@click.argument("plan_file", type=click.Path(), metavar="PLAN")
@click.option("--to", "target", required=True, type=click.Choice(["vllm", "sglang", "kubernetes"]))
@click.option("--model-path", "model_paths", multiple=True, metavar="NAME=PATH", help="What a model loads from.")
@click.option("-o", "--output", type=click.Path(), metavar="FILE|DIR", help="Write to a file, or all to a folder.")
@click.option("--format", "form", type=click.Choice(["sh", "yaml"]), help="Flags as a script, or a file for --config.")
@click.option("--deployment", metavar="NAME", help="Only this deployment's flags.")
@click.option("--image", "images", multiple=True, metavar="ENGINE=IMAGE", help="Container image of an engine.")
@click.option("--namespace", metavar="NAME", help="Kubernetes namespace of all objects.")
@click.option("--pool-label", default="kvplan/pool", show_default=True, metavar="KEY", help="Node label with the pool.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65_535))
@click.option("--quantize-on-load", is_flag=True, help="Checkpoints are 16-bit; the engine quantizes while it loads.")
@click.option(
    "--alerts",
    type=click.Choice(["operator", "file", "none"]),
    default="operator",
    show_default=True,
    help="PrometheusRule and PodMonitor, a plain rules file, or nothing.",
)
def export(
    plan_file: str,
    target: str,
    model_paths: tuple[str, ...],
    output: str | None,
    form: str | None,
    deployment: str | None,
    images: tuple[str, ...],
    namespace: str | None,
    pool_label: str,
    port: int,
    quantize_on_load: bool,
    alerts: str,
) -> None:
    """Write a plan as engine flags or as Kubernetes manifests.

    \b
    Examples:
      kvplan export plan.json --to vllm --model-path assistant=/models/llama-3.3-70b-fp8
      kvplan export plan.json --to kubernetes --model-path assistant=/models/llama -o manifests/
    """
    from planner.export.serving import servings
    from planner.plan.io import parse, read_tree

    kubernetes = target == "kubernetes"
    if kubernetes and (form == "sh" or deployment):
        raise click.UsageError("--format sh and --deployment are for engine flags, not for --to kubernetes")
    options = _options(model_paths, images, namespace, pool_label, port, quantize_on_load, alerts)
    folder = output is not None and (output.endswith("/") or Path(output).is_dir())
    if kubernetes and alerts == "file" and not folder:
        raise click.UsageError("--alerts file is no Kubernetes object; write all files to a folder with -o FOLDER/")
    plan = parse(read_tree(plan_file), plan_file)
    engine = None if kubernetes else target
    if deployment is not None:
        plan = _only(plan, deployment)
    found = servings(plan, options, engine=engine, source=plan_file)
    if kubernetes:
        from planner.export.kubernetes import manifests, one_text

        files = manifests(plan, found, options, plan_file)
        text = one_text(files)
    else:
        from planner.export.scripts import config_file, shell_script

        script = shell_script(plan, found, options)
        configs = tuple(config_file(plan, serving, options) for serving in found)
        files = {"sh": (script,), "yaml": configs, None: (script, *configs)}[form]
        as_yaml = form == "yaml" or (form is None and (output or "").endswith((".yaml", ".yml")))
        if as_yaml and not folder and len(configs) > 1:
            names = ", ".join(serving.name for serving in found)
            raise click.UsageError(f"a file for --config is for one deployment: add --deployment with one of {names}")
        text = configs[0].text if as_yaml else script.text
    _write(output, folder, files, text, {plan_file, *files_of_plan(plan)})
    for serving in found:
        for note in serving.notes:
            say_error(f"{serving.name}: {note}")


def _options(
    model_paths: Sequence[str],
    images: Sequence[str],
    namespace: str | None,
    pool_label: str,
    port: int,
    quantize_on_load: bool,
    alerts: str,
) -> Options:
    from planner.export.names import dns_label, is_label_key
    from planner.export.serving import Alerts, Options

    if not is_label_key(pool_label):
        raise click.BadParameter(
            f"{pool_label!r} is no label key; write one like kvplan/pool", param_hint="--pool-label"
        )
    if namespace is not None and dns_label(namespace, 63) != namespace:
        raise click.BadParameter(f"{namespace!r} is no DNS label; write one like inference", param_hint="--namespace")
    kinds: dict[str, Alerts] = {"operator": "operator", "file": "file", "none": "none"}
    return Options(
        model_paths=_pairs(model_paths, "--model-path"),
        images=_pairs(images, "--image"),
        namespace=namespace,
        pool_label=pool_label,
        port=port,
        quantize_on_load=quantize_on_load,
        alerts=kinds[alerts],
    )


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice", param_hint=option)
        found[name] = value
    if option == "--image" and (unknown := sorted({*found} - {"vllm", "sglang"})):
        raise click.BadParameter(f"{unknown[0]!r} is no engine; write vllm or sglang", param_hint=option)
    return found


def _only(plan: Plan, name: str) -> Plan:
    from dataclasses import replace

    if name not in plan.deployments:
        known = ", ".join(plan.deployments) or "none"
        raise click.BadParameter(f"{name!r} is not in the plan, which has: {known}", param_hint="--deployment")
    return replace(plan, deployments={name: plan.deployments[name]})


def _write(output: str | None, folder: bool, files: Sequence[File], text: str, inputs: set[str]) -> None:
    if output is None:
        say(text)
    elif not folder:
        check_target(output, inputs)
        write_whole(output, text)
    else:
        try:
            Path(output).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.FileError(output, hint=error.strerror or str(error)) from None
        targets = [str(Path(output) / file.name) for file in files]
        for target in targets:
            check_target(target, inputs)
        for target, file in zip(targets, files, strict=True):
            write_whole(target, file.text)
        say("\n".join(targets))
