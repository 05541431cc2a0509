"""Random tiny scenarios as YAML text: small enough that every plan can be tried."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

GPUS = ("l40s-48gb", "a100-sxm-80gb", "h100-sxm-80gb")
REGIONS = ("north", "south")
PROMISES = ("{tpot_p95: 30ms}", "{tpot_p95: 90ms}", "{ttft_p95: 1s}", "{ttft_p95: 800ms, tpot_p95: 40ms}")
ORDERS = (
    "[cost, gpus, quality_loss]",
    "[gpus, cost, quality_loss]",
    "[cost, quality_loss]",
    "[quality_loss, cost]",
    "cost",
)


def inventory(rng: random.Random, gpus: tuple[str, ...], most_nodes: int) -> list[str]:
    """One to three pools, often of the same kind, some of them committed."""
    lines = ["inventory:"]
    for index in range(rng.choice((1, 2, 2, 3))):
        committed = rng.choice((0, 0, 0, 1))
        available = rng.randint(0 if committed else 1, most_nodes)
        lines += [
            f"  pool-{index}:",
            f"    gpu: {rng.choice(gpus)}",
            f"    region: {rng.choice(REGIONS[: rng.choice((1, 1, 2))])}",
            f"    committed: {committed} nodes",
            f"    available: {available} nodes",
            f"    gpus_per_node: {rng.choice((1, 2, 2, 4))}",
            f"    price: ${rng.choice((1, 2, 3))}.{rng.choice((0, 25, 5)):02d}/gpu/h",
            "    source: made up",
        ]
    return lines


def caps(rng: random.Random, pools: int) -> list[str]:
    """Limits, reserve, budget and objectives, each only sometimes."""
    lines = []
    if rng.random() < 0.3:
        use = ", ".join(f"pool-{i}: {rng.choice((1, 2, 2.5))}" for i in range(pools) if i == 0 or rng.random() < 0.7)
        lines += [
            "limits:",
            "  quota:",
            f"    max: {rng.choice((4, 5.5, 8))}",
            f"    per_node: {{{use}}}",
            "    source: x",
        ]
    reserve = []
    if rng.random() < 0.3:
        reserve.append(f"utilization: {rng.choice((80, 95))}%")
    if rng.random() < 0.3:
        reserve.append(f"kv_headroom: {rng.choice((10, 30))}%")
    if rng.random() < 0.3:
        reserve.append(f"spare: {{{rng.choice(('nodes', 'replicas'))}: 1}}")
    if rng.random() < 0.3:
        reserve.append("confidence: p90")
    if reserve:
        lines.append(f"reserve: {{{', '.join(reserve)}}}")
    budget = []
    if rng.random() < 0.3:
        price = rng.choice((1, 1.25, 1.5, 2, 2.25, 3))
        budget.append(f"monthly: ${rng.randint(2, 12) * 730 * price + rng.choice((-0.01, 0, 0)):.2f}")
    if rng.random() < 0.3:
        pue, watts = rng.choice((1, 1.2)), rng.randint(2, 12) * rng.choice((350, 400, 700))
        budget.append(f"power: {watts * pue:.0f}W, pue: {pue}")
    if budget:
        lines.append(f"budget: {{{', '.join(budget)}}}")
    lines.append(f"objective: {rng.choice(ORDERS)}")
    return lines


def replica_rules(rng: random.Random) -> str:
    """Bounds on replicas and configurations, each only sometimes."""
    words = []
    if rng.random() < 0.25:
        words.append(f"replicas: {{min: {rng.choice((1, 2, 3))}}}")
    elif rng.random() < 0.25:
        words.append(f"replicas: {{max: {rng.choice((1, 3, 4))}}}")
    if rng.random() < 0.3:
        words.append("max_configurations: 1")
    return ", ".join(words)


def measured(rng: random.Random, folder: Path) -> str:
    """A scenario on capacity tables: rates and demands that divide each other often, so that rows meet exactly."""
    models = [f"m{i}" for i in range(rng.choice((1, 1, 2)))]
    classes = {f"c{i}": rng.choice(models) for i in range(rng.choice((1, 2, 2, 3)))}
    classes |= {f"d{i}": name for i, name in enumerate(models) if name not in classes.values()}
    gpus = tuple(rng.sample(GPUS, rng.choice((1, 2))))
    stock = inventory(rng, gpus, 3)
    used = [gpu for gpu in gpus if any(line.endswith(gpu) for line in stock)]
    lines = ["kvplan: 1", "name: tiny", "models:"]
    for model in models:
        rules = replica_rules(rng)
        lines.append(f"  {model}: {{capacity_table: {model}.csv{', ' + rules if rules else ''}}}")
        rows = ["gpu,class,requests_per_s"]
        for gpu in used:
            for name in (name for name, of in classes.items() if of == model):
                rows.append(f"{gpu},{name},{rng.choice(('0', '0.5', '0.75', '1', '1.2', '1.5', '2', '3', '4', '0.7'))}")
        (folder / f"{model}.csv").write_text("\n".join(rows) + "\n")
    lines.append("traffic:")
    for name, model in classes.items():
        lines.append(f"  {name}: {{model: {model}, peak: {rng.choice(('0.5', '1', '1.5', '0.9', '0.35'))} req/s}}")
    lines += stock
    pools = sum(line.startswith("  pool-") for line in stock)
    return "\n".join(lines + caps(rng, pools)) + "\n"


def _model(rng: random.Random, name: str) -> list[str]:
    shapes = rng.choice(("tp1", "tp1", "tp2", "[tp1, tp2]"))
    presets = rng.choice(("bf16", "bf16", "fp8", "[bf16, fp8]"))
    rules = replica_rules(rng)
    return [
        f"  {name}:",
        f"    ref: {rng.choice(('llama-3.1-8b', 'qwen3-8b'))}",
        "    engine: vllm@0.24",
        f"    weights: {rng.choice(('bf16', 'bf16', 'bf16', 'fp8'))}",
        f"    parallel: {shapes}",
        f"    context_limit: {rng.choice(('2Ki', '4Ki', '8Ki', '[2Ki, 8Ki]', '[1Ki, 4Ki]'))}",
        f"    max_batch: {rng.choice(('{min: 256, max: 256}', '{min: 64, max: 64}', '{min: 16, max: 16}'))}",
        f"    kv_presets: {presets}",
        *(f"    {rule}" for rule in rules.split(", ") if rule),
        *(["    engine_args: {gpu_memory_utilization: 0.45}"] if rng.random() < 0.5 else []),
    ]


def physical(rng: random.Random, folder: Path) -> str:
    """A scenario on models, engines and GPUs; one shape, one batch size and few promises keep its table small."""
    models = [f"m{i}" for i in range(rng.choice((1, 1, 1, 2)))]
    classes = {f"c{i}": rng.choice(models) for i in range(rng.choice((1, 1, 2)))}
    classes |= {f"d{i}": name for i, name in enumerate(models) if name not in classes.values()}
    lines = ["kvplan: 1", "name: tiny", "models:"]
    for model in models:
        lines += _model(rng, model)
    lines.append("traffic:")
    for name, model in classes.items():
        longest = rng.choice((1_500, 3_000, 5_000))
        lines += [
            f"  {name}:",
            f"    model: {model}",
            f"    peak: {rng.choice(('0.5', '1', '2', '4', '7'))} req/s",
            f"    mean: {rng.choice(('0.2', '0.5'))} req/s",
            f"    input_tokens: {{p50: {rng.choice((300, 900, longest - 400))}, max: {longest}}}",
            f"    output_tokens: {{p50: {rng.choice((80, 200))}, max: {rng.choice((400, 500))}}}",
            f"    slo: {rng.choice(PROMISES)}",
        ]
        if rng.random() < 0.3:
            lines.append(f"    prefix: {{reusable: {rng.choice((20, 60))}%}}")
        if rng.random() < 0.3:
            lines.append(f"    quality: {{max_accuracy_drop: {rng.choice((0, 1, 3))}%}}")
        if rng.random() < 0.6:
            lines.append(f"    rejected_at_most: {rng.choice((0.5, 2, 5, 9))}%")
            lines.append(f"    cut_short_at_most: {rng.choice((2, 5, 15))}%")
    stock = inventory(rng, tuple(rng.sample(GPUS, rng.choice((1, 2)))), 3)
    pools = sum(line.startswith("  pool-") for line in stock)
    return "\n".join(lines + stock + caps(rng, pools)) + "\n"


@pytest.fixture(scope="session")
def write_scenario() -> Callable[[int, Path], Path]:
    """Writes the scenario of a seed into a folder: two in three measured, one in three physical."""

    def write(seed: int, folder: Path) -> Path:
        rng = random.Random(seed)
        path = folder / "scenario.yaml"
        path.write_text((physical if seed % 3 == 0 else measured)(rng, folder))
        return path

    return write
