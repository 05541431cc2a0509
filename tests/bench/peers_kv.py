"""kvplan beside kvfit and aiconfigurator-core on the same models, as a page: `docs/peers.md`.

Two tables. The first asks for the KV bytes of one sequence, kind of architecture by kind; the second for the whole
chain from GPU to pool, against start-up logs of vLLM on H100. The peers run with their own rules and defaults; what
they need and do not know (bytes of the checkpoint for kvfit) is given to them as the log has it.

Run from the root of the repository, with the `bench` extra installed:
    python tests/bench/peers_kv.py --write docs/peers.md
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean

from planner import __version__
from planner.calculator.kv import kv_answer
from planner.calculator.query import KvQuery
from planner.catalog import load_engine, load_model
from planner.catalog.files import model_paths, read_json_object
from planner.catalog.parallel import Parallel
from planner.catalog.types import BF16_KV, EngineRules, ModelFacts
from planner.memory.kv import KvSetup, logical_bytes, reserved_bytes

GIB = 2**30
CONTEXT = 32_768
BATCHED_TOKENS = 8_192
SEQUENCES = 1_024
LOGS = Path(__file__).parents[1] / "data" / "kv_engine_logs.json"
PEERS = (("kvfit", "0.3.0"), ("aiconfigurator-core", "0.12.0"))
NAMES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "qwen3_next": "Qwen3NextForCausalLM",
    "nemotron_h": "NemotronHForCausalLM",
}
"""Class names of transformers, for configs of the catalog that do not carry them."""

_FOLDER = tempfile.TemporaryDirectory()

COMMAND = "python tests/bench/peers_kv.py --write docs/peers.md"

ARCHITECTURES = (
    ("llama-3.1-8b", "meta-llama/Meta-Llama-3.1-8B", "GQA"),
    ("qwen3-32b", "Qwen/Qwen3-32B", "GQA, head_dim given"),
    ("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B", "GQA, MoE"),
    ("gpt-oss-120b", "openai/gpt-oss-120b", "GQA, every second layer slides"),
    ("gemma-3-27b", "google/gemma-3-27b-it", "GQA, 52 of 62 layers slide"),
    ("gemma-4-26b-a4b", "google/gemma-4-26B-A4B", "windows, global heads of another size"),
    ("llama-4-scout-17b-16e", "meta-llama/Llama-4-Scout-17B-16E-Instruct", "chunked local attention"),
    ("mimo-v2-flash", "XiaomiMiMo/MiMo-V2-Flash", "K and V of different size, windows"),
    ("deepseek-v3", "deepseek-ai/DeepSeek-V3", "MLA"),
    ("deepseek-v3.2", "deepseek-ai/DeepSeek-V3.2", "MLA with a sparse indexer"),
    ("qwen3-next-80b-a3b", "Qwen/Qwen3-Next-80B-A3B-Instruct", "hybrid, gated delta net"),
    ("qwen3.5-27b", "Qwen/Qwen3.5-27B", "hybrid, gated delta net"),
    ("nemotron-h-8b", "nvidia/Nemotron-H-8B-Base-8K", "hybrid, Mamba-2"),
    ("granite-4.0-h-small", "ibm-granite/granite-4.0-h-small", "hybrid, Mamba-2"),
    ("jamba-v0.1", "ai21labs/Jamba-v0.1", "hybrid, Mamba-1"),
    ("minimax-m1", "MiniMaxAI/MiniMax-M1", "hybrid, lightning attention"),
    ("kimi-k3", "moonshotai/Kimi-K3", "hybrid, KDA and MLA"),
    ("gemma-3n-e4b", "google/gemma-3n-E4B-it", "windows, KV shared across layers"),
)


@dataclass(frozen=True)
class Answer:
    """What a tool says: bytes of one sequence, or tokens of a pool; `why` where it says nothing."""

    value: float | None
    why: str = ""


def main() -> None:
    """Prints the page, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", metavar="FILE", help="write the page there")
    target = parser.parse_args().write
    missing = [name for name, wanted in PEERS if _installed(name) != wanted]
    if missing:
        pins = " ".join(f"{name}=={wanted}" for name, wanted in PEERS)
        parser.error(f"{', '.join(missing)} not installed in the version of this page; pip install {pins}")
    page = "\n".join([*_head(), *_sequences(), "", *_pools(), ""])
    if target:
        Path(target).write_text(page, encoding="utf-8")
    else:
        sys.stdout.write(page)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _head() -> list[str]:
    peers = ", ".join(f"{name} {wanted}" for name, wanted in PEERS)
    return [
        "# kvplan beside its peers",
        "",
        f"kvplan {__version__}, {peers}. Made by `{COMMAND}`.",
        "Both peers are good tools with other aims: kvfit counts the state that a model needs, whatever the engine;",
        "aiconfigurator-core searches serving configurations from measured kernels. A dash means that the tool refuses",
        "or cannot read the model; its own words follow the table.",
        "",
    ]


def _sequences() -> list[str]:
    """Bytes of one sequence, architecture by architecture."""
    rules = _engine("vllm@0.24")
    lines = [
        f"## KV of one sequence of {CONTEXT // 1024}Ki tokens, bf16, one GPU, in GiB",
        "",
        "`logical` is what the formulas say a sequence needs, `reserved` what vLLM 0.24 charges its pool (groups,",
        "padding, blocks, state). aiconfigurator-core gives bytes of a token; here they are multiplied by the context.",
        "",
        "| model | kind | kvplan logical | kvplan reserved | kvfit | aiconfigurator-core |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    reasons: list[str] = []
    for model_id, hub_id, kind in ARCHITECTURES:
        model = load_model(model_id, Path())
        if isinstance(model, str) or model.unsupported:
            raise SystemExit(f"{model_id}: {model if isinstance(model, str) else model.unsupported}")
        setup = KvSetup(model, rules, BF16_KV, Parallel(), CONTEXT, BATCHED_TOKENS)
        ours = (logical_bytes(setup, CONTEXT) / GIB, reserved_bytes(setup, CONTEXT) / GIB)
        fit, search = _kvfit_sequence(model_id, CONTEXT), _aiconfigurator_token(model, hub_id)
        cells = [_gib(fit.value, GIB), _gib(search.value and search.value * CONTEXT, GIB)]
        lines.append(f"| {model_id} | {kind} | {ours[0]:.3f} | {ours[1]:.3f} | {cells[0]} | {cells[1]} |")
        reasons += [
            f"- {model_id}, {name}: {a.why}" for name, a in (("kvfit", fit), ("aiconfigurator-core", search)) if a.why
        ]
    return [*lines, "", *reasons] if reasons else lines


def _gib(value: float | None, unit: int) -> str:
    return "-" if value is None else f"{value / unit:.3f}"


def _pools() -> list[str]:
    """Tokens of the pool from GPU and model alone, against start-up logs."""
    lines = [
        "## Tokens of the KV pool, from GPU, model and flags alone, against start-up logs",
        "",
        "vLLM 0.17 to 0.19 on H100-80GB, `--gpu-memory-utilization 0.95`, 8,192 batched tokens, 1,024 sequences.",
        "Columns give the prediction over the log less 1; above 0 % a plan promises memory that is not there. kvfit is",
        "given the weights as logged (it reads a checkpoint's size from the hub) and predicts concurrency, here",
        "times the context; it reserves nothing for activations by default. aiconfigurator-core answers for vLLM 0.24,",
        "the release that it has data for. kvplan's margin for what was not measured is left off, as in `kvplan kv`.",
        "",
        "| model | tp | logged tokens | kvplan | kvfit | aiconfigurator-core |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    errors: dict[str, list[float]] = {"kvplan": [], "kvfit": [], "aiconfigurator-core": []}
    plain: dict[str, list[float]] = {name: [] for name in errors}
    reasons: list[str] = []
    for log in _h100_logs():
        answers = {
            "kvplan": _kvplan_pool(log),
            "kvfit": _kvfit_pool(log),
            "aiconfigurator-core": _aiconfigurator_pool(log),
        }
        cells = []
        for name, answer in answers.items():
            if answer.value is None:
                cells.append("-")
                reasons.append(f"- {log['model']} tp{log['tensor_parallel_size']}, {name}: {answer.why}")
            else:
                errors[name].append(answer.value / float(log["kv_tokens"]) - 1)
                if not _is_windowed(log):
                    plain[name].append(errors[name][-1])
                cells.append(f"{errors[name][-1]:+.1%}")
        lines.append(f"| {log['model']} | {log['tensor_parallel_size']} | {log['kv_tokens']:,} | {' | '.join(cells)} |")
    for words, sets in (("mean absolute error", errors), ("the same without sliding or chunked models", plain)):
        means = [f"{mean(abs(e) for e in found):.1%} ({len(found)})" if found else "-" for found in sets.values()]
        lines.append(f"| {words} (logs answered) | | | {' | '.join(means)} |")
    worst = [f"{max(found):+.1%}" if found else "-" for found in errors.values()]
    lines.append(f"| most over the log | | | {' | '.join(worst)} |")
    return [*lines, "", *dict.fromkeys(reasons)]


Log = dict[str, "str | int | float"]


def _h100_logs() -> list[Log]:
    """One log of each (model, shape): vLLM 0.17 to 0.19 on H100 with 16-bit KV."""
    found: dict[tuple[object, object], Log] = {}
    for log in json.loads(LOGS.read_text(encoding="utf-8"))["logs"]:
        plain = log["kv_cache_dtype"] in ("auto(bfloat16)", "auto(bf16/fp16)") and not log.get("weight_quantization")
        quantized = log.get("weight_quantization") == "mxfp4"
        told = log["engine"] == "vllm" and log.get("gpu") == "H100-80GB" and "kv_tokens" in log
        if told and (plain or quantized) and log.get("version") != "0.16.0" and log.get("max_model_len") == 8192:
            found.setdefault((log["model"], log["tensor_parallel_size"]), log)
    return list(found.values())


def _is_windowed(log: Log) -> bool:
    model = load_model(str(log["model"]), Path())
    return not isinstance(model, str) and model.is_windowed


def _kvplan_pool(log: Log) -> Answer:
    model = load_model(str(log["model"]), Path())
    if isinstance(model, str):
        return Answer(None, model)
    query = KvQuery(
        model=model.id,
        shape=Parallel(int(log["tensor_parallel_size"])),
        engine=f"vllm@{log.get('version', '0.19.0')}",
        gpu="h100-sxm-80gb",
        max_model_len=int(log["max_model_len"]),
        max_num_seqs=SEQUENCES,
        max_num_batched_tokens=BATCHED_TOKENS,
        utilization_ppm=950_000,
    )
    pool = kv_answer(query).figures.pool
    return Answer(None, "it does not fit") if pool is None else Answer(pool.printed_tokens)


def _tree(model_id: str) -> dict[str, object]:
    tree = read_json_object(model_paths()[model_id])
    if isinstance(tree, str):
        raise SystemExit(f"{model_id} {tree}")
    alias = tree.get("alias_of")
    return _tree(alias) if isinstance(alias, str) else dict(tree)


def _kvfit_sequence(model_id: str, context: int) -> Answer:
    from kvfit.architectures import estimate_cache

    return _asked(lambda: float(estimate_cache(_tree(model_id), context_tokens=context).total_bytes))


def _kvfit_pool(log: Log) -> Answer:
    from kvfit.architectures import estimate_cache
    from kvfit.hardware import parse_hardware
    from kvfit.planner import plan_topologies

    model = load_model(str(log["model"]), Path())
    if isinstance(model, str):
        return Answer(None, model)
    tp, context = int(log["tensor_parallel_size"]), int(log["max_model_len"])

    def tokens() -> float:
        cache = estimate_cache(_tree(model.id), context_tokens=context)
        weights = int(float(log["weights_gib"]) * tp * GIB)
        plans = plan_topologies(
            cache, weight_bytes=weights, hardware=parse_hardware("h100"), gpus=tp, utilization=0.95, tensor_parallel=tp
        )
        return float(plans[0].sequences_per_replica * context)

    return _asked(tokens)


def _aiconfigurator(model: ModelFacts, hub_id: str, tp: int) -> dict[str, float]:
    """Its estimate, from the config that it ships with, else from the catalog's config as a local folder."""
    import aiconfigurator_core
    from aiconfigurator_core.sdk.memory import estimate_kv_cache

    shipped = Path(aiconfigurator_core.__file__).parent / "model_configs"
    source = hub_id
    if not (shipped / f"{hub_id.replace('/', '--')}_config.json").exists():
        tree = {"architectures": [NAMES.get(model.model_type, "")], **_tree(model.id)}
        source = str(Path(tempfile.mkdtemp(dir=_FOLDER.name)))
        Path(source, "config.json").write_text(json.dumps(tree), encoding="utf-8")
    return dict(
        estimate_kv_cache(
            source,
            "h100_sxm",
            "vllm",
            "current",
            max_num_tokens=BATCHED_TOKENS,
            max_batch_size=SEQUENCES,
            memory_fraction_kind="of_total",
            memory_fraction_value=0.95,
            tp_size=tp,
            moe_tp_size=tp,
            moe_ep_size=1,
        )
    )


def _aiconfigurator_token(model: ModelFacts, hub_id: str) -> Answer:
    """Bytes of a token. Where the weights need several GPUs, KV heads are split too, latent vectors are not."""
    for tp in (1, 2, 4, 8):
        answer = _asked(lambda tp=tp: _aiconfigurator(model, hub_id, tp)["kv_size_per_token_bytes"])
        if answer.value is not None and model.has_state:
            size = f"{answer.value / 2**20:,.1f} MiB"
            return Answer(None, f"its bytes of a token ({size}) include the state of a sequence, so they do not scale")
        if answer.value is not None:
            return Answer(answer.value * (1 if model.is_mla else tp))
        if "budget" not in answer.why.lower():
            return answer
    return answer


def _aiconfigurator_pool(log: Log) -> Answer:
    model = load_model(str(log["model"]), Path())
    if isinstance(model, str):
        return Answer(None, model)
    hub_id, tp = str(log["model"]), int(log["tensor_parallel_size"])
    return _asked(lambda: float(_aiconfigurator(model, hub_id, tp)["total_kv_size_tokens"]))


def _asked(question: Callable[[], float]) -> Answer:
    """The peer's answer, or its own words where it has none."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return Answer(question())
    except Exception as error:
        words = " ".join(str(error).split()).rpartition("gpu_sku=h100_sxm: ")[2] or type(error).__name__
        return Answer(None, words if len(words) <= 160 else f"{words[:157]}...")


def _engine(text: str) -> EngineRules:
    rules = load_engine(text)
    if isinstance(rules, str):
        raise SystemExit(rules)
    return rules


if __name__ == "__main__":
    main()
