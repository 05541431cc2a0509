"""Seeded scenarios of four sizes, written as YAML and planned through the public API like any user's file."""

from __future__ import annotations

import random
from dataclasses import dataclass

import yaml


@dataclass(frozen=True)
class Size:
    """How much of everything a scenario has. `choices` is how many weights, and how many presets, a model may use."""

    models: int
    classes: int
    gpus: int
    regions: int
    tiers: int
    nodes: int
    choices: int


SIZES = {
    "small": Size(models=2, classes=4, gpus=3, regions=1, tiers=2, nodes=4, choices=2),
    "medium": Size(models=5, classes=20, gpus=8, regions=4, tiers=3, nodes=8, choices=2),
    "large": Size(models=50, classes=500, gpus=8, regions=6, tiers=3, nodes=40, choices=1),
    "huge": Size(models=300, classes=5_000, gpus=6, regions=6, tiers=3, nodes=300, choices=1),
}

GPUS = {
    "h100-sxm-80gb": (8, 2.95), "a100-sxm-80gb": (8, 1.65), "l40s-48gb": (4, 1.05), "h200-sxm-141gb": (8, 3.50),
    "a100-sxm-40gb": (8, 1.29), "l4-24gb": (4, 0.60), "a10g-24gb": (4, 0.95), "rtx-a6000-48gb": (4, 0.70),
    "b200-sxm-180gb": (8, 5.20), "h100-nvl-94gb": (4, 2.60), "l40-48gb": (4, 0.95), "a40-48gb": (4, 0.60),
    "h100-pcie-80gb": (4, 2.30), "a100-pcie-80gb": (4, 1.45), "rtx-4090-24gb": (4, 0.45),
}  # fmt: skip
"""GPUs a node and a list price per GPU and hour, of the order of public prices; the seed varies it by region."""

MODELS = (
    "llama-3.1-8b", "qwen3-32b", "llama-3.3-70b-instruct", "qwen2.5-14b", "qwen3-8b",
    "qwen2.5-72b", "mistral-7b", "qwen2.5-32b", "llama-3.1-70b", "codellama-34b",
)  # fmt: skip
"""Dense models: every engine, weight type and preset of the scenarios has latencies for them."""

TIERS = (("reserved", 0.62), ("on-demand", 1.0), ("spot", 0.41))
"""Price tiers as factors of the list price: all by the node, none committed."""


def scenario_text(size: str, seed: int) -> str:
    """The scenario of a size and seed as YAML."""
    shape, rng = SIZES[size], random.Random(f"{size}-{seed}")
    models = {f"model-{m:03}": _model(MODELS[m % len(MODELS)], shape.choices) for m in range(shape.models)}
    owners = [*range(shape.models), *(rng.randrange(shape.models) for _ in range(shape.classes - shape.models))]
    traffic = {f"class-{k:04}": _traffic(rng, f"model-{m:03}") for k, m in enumerate(sorted(owners))}
    inventory = {}
    for gpu, (unit, price) in list(GPUS.items())[: shape.gpus]:
        for region in range(shape.regions):
            local = price * rng.uniform(0.9, 1.15)
            for tier, factor in TIERS[: shape.tiers]:
                inventory[f"{gpu}-r{region:02}-{tier}"] = {
                    "gpu": gpu,
                    "region": f"r{region:02}",
                    "available": f"{rng.randint(1, shape.nodes)} nodes",
                    "gpus_per_node": unit,
                    "price": f"${local * factor:.4f}/gpu/h",
                    "source": "drawn by a seed for a benchmark",
                }
    return yaml.safe_dump(
        {
            "kvplan": 1,
            "name": f"{size}-{seed}",
            "owner": "bench",
            "horizon": "1mo",
            "models": models,
            "traffic": traffic,
            "inventory": inventory,
            "objective": ["cost"],
        },
        sort_keys=False,
    )


def _model(ref: str, choices: int) -> dict[str, object]:
    return {
        "ref": ref,
        "engine": "vllm@0.24",
        "weights": ["fp8", "bf16"][:choices],
        "parallel": ["tp1", "tp2", "tp4", "tp8"],
        "context_limit": ["8Ki"],
        "max_batch": {"min": 16, "max": 256},
        "kv_presets": ["fp8", "bf16"][:choices],
    }


def _traffic(rng: random.Random, model: str) -> dict[str, object]:
    middle, longest = rng.randint(150, 1_500), rng.choice((3_000, 4_500, 6_000))
    answer = rng.randint(60, 400)
    peak = round(10 ** rng.uniform(-0.6, 1.1), 2)
    return {
        "model": model,
        "peak": f"{peak} req/s",
        "mean": f"{round(peak * rng.uniform(0.3, 0.6), 3)} req/s",
        "input_tokens": {"p50": middle, "p95": middle * 2 - 10, "max": longest},
        "output_tokens": {"p50": answer, "p95": answer * 2, "max": answer * 4},
        "slo": {"ttft_p95": f"{rng.choice((800, 1500, 3000))}ms", "tpot_p95": f"{rng.choice((40, 60, 90, 150))}ms"},
    }
