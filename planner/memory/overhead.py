"""GPU memory that is neither weights nor KV: activation peak, communication buffers, and engine defaults.

vLLM measures the peak with a dummy run at start-up. It is the larger of two moments: the forward pass over a
full batch of tokens, and the sampler over the logits of all sequences.
Source: start-up logs of vLLM 0.17 to 0.19 on H100 (63 logs, mean error 0.06 GiB, at most 0.30),
llm-d-incubation/llm-d-planner@d3121e059da8; structure from vLLM `gpu_worker.py` and `fused_moe.py`.
"""

from __future__ import annotations

from fractions import Fraction

from planner.catalog.parallel import Parallel
from planner.catalog.types import EngineRules, GpuFacts, ModelFacts, ServerDefaults
from planner.memory.stages import ceil_div

GIB = 2**30
MIB = 2**20

CUDA_GRAPHS_GIB = Fraction(105, 100)
"""Mean of 61 logs (0.51 to 1.85)."""

MEASURED_GPUS = frozenset({"h100-sxm-80gb"})
"""GPUs whose logs of releases from 0.11 on the constants come from."""

MEASURED_TP = 4
WIDE_GRAPH_TP = 4


def default_max_num_seqs(gpu: GpuFacts, engine: EngineRules) -> int:
    """Sequences that the server schedules at once by default. vLLM: 1,024 from 70 GiB on except on A100, else 256.

    Source: vLLM `EngineArgs.get_batch_defaults`, OpenAI server, 0.19 to 0.33; SGLang, where the pool decides
    and 2,048 is the least; TensorRT-LLM tuning guide.

    >>> from planner.catalog import load_engine, load_gpu
    >>> default_max_num_seqs(load_gpu("a100-sxm-80gb"), load_engine("vllm@0.24"))
    256
    """
    return server_defaults(gpu, engine).sequences


def default_max_num_batched_tokens(gpu: GpuFacts, engine: EngineRules) -> int:
    """Tokens of one scheduler step by default; SGLang: of one chunk of a prefill.

    vLLM: 8,192 from 70 GiB on except on A100, else 2,048; 16,384 from 160 GiB on in 0.33. SGLang: 2,048,
    4,096, 8,192 or 16,384 by size. TensorRT-LLM: 8,192.
    Source: vLLM `EngineArgs.get_batch_defaults`, OpenAI server; SGLang `server_args.py`; TensorRT-LLM tuning
    guide.

    >>> from planner.catalog import load_engine, load_gpu
    >>> gpu, releases = load_gpu("b200-sxm-180gb"), ("vllm@0.24", "vllm@0.33")
    >>> [default_max_num_batched_tokens(gpu, load_engine(release)) for release in releases]
    [8192, 16384]
    """
    if engine.large_gpu_bytes and gpu.memory_bytes >= engine.large_gpu_bytes:
        return 16_384
    return server_defaults(gpu, engine).batched_tokens


def server_defaults(gpu: GpuFacts, engine: EngineRules) -> ServerDefaults:
    """The defaults of the largest tier that the GPU reaches; vLLM keeps A100 in the first one."""
    size = 0 if engine.name == "vllm" and gpu.id.startswith("a100") else gpu.memory_bytes
    return [tier for tier in engine.defaults if tier.from_bytes <= size][-1]


def activation_bytes(
    model: ModelFacts,
    engine: EngineRules,
    shape: Parallel,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    *,
    stage: int | None = None,
    element_bytes: int = 2,
) -> int:
    """Peak of the dummy run on one rank of a stage (None: the last), with the workspace of fused experts.

    max(c * R * V + b * T * H, b * T * (3 * I / tp + 4 * H)) + experts + images, with R = min(max_num_seqs, T),
    T batched tokens, V vocabulary, H hidden size, I feed-forward width, b bytes of an element, c = 15 bytes
    (38 before 0.17), of which b are the logits themselves; not divided by tp. The sampler runs on the last
    stage only; passing hidden states on costs 2 * b * T * H, and so do the embeddings of images (the
    encoder's and the joined ones).
    Source: fit on 65 start-up logs, mean error 0.043 GiB; vLLM `gpu_model_runner.py` (profile_run).

    >>> from pathlib import Path
    >>> from planner.catalog import load_engine, load_model
    >>> model = load_model("llama-3.1-8b", Path())
    >>> peak = activation_bytes(model, load_engine("vllm@0.19"), Parallel(), 1024, 8192)  # log: 1.89 GiB
    >>> round(peak / 2**30, 2)
    1.9
    """
    tokens, hidden = max_num_batched_tokens, model.hidden_size
    is_last = stage is None or stage == shape.pp - 1
    rows = min(max_num_seqs, tokens) if is_last and engine.sampler_bytes_per_logit else 0
    sampler = (engine.sampler_bytes_per_logit - 2 + element_bytes) * rows * model.vocab_size
    forward = element_bytes * tokens * (3 * ceil_div(model.ffn_size, shape.tp) + 4 * hidden)
    if shape.pp > 1:
        forward += 2 * element_bytes * tokens * hidden
    peak = max(sampler + element_bytes * tokens * hidden if rows else 0, forward)
    images = 2 * element_bytes * tokens * hidden if is_multimodal(model) else 0
    return peak + expert_workspace_bytes(model, shape, tokens) + images


def is_multimodal(model: ModelFacts) -> bool:
    """Whether a vision tower is loaded beside the language model, of known size or not."""
    return model.vision_params > 0 or any("vision" in each for each in model.missing)


def expert_workspace_bytes(model: ModelFacts, shape: Parallel, max_num_batched_tokens: int) -> int:
    """Intermediate results of fused 16-bit or fp8 experts: 2 * T * k * (max(2 * Im / n, H) + max(Im / n, H)).

    n ranks share each expert (1 when whole experts are spread); under data parallelism the tokens of all
    ranks meet. mxfp4 experts run in another kernel that needs none of it.
    Source: vLLM `fused_moe.py` (intermediate caches).
    """
    if not model.is_moe or model.native_weights == "mxfp4":
        return 0
    ranks = 1 if shape.ep else shape.expert_ranks
    width, hidden = ceil_div(model.expert_ffn_size, ranks), model.hidden_size
    per_row = max(2 * width, hidden) + max(width, hidden)
    return 2 * max_num_batched_tokens * shape.dp * model.experts_per_token * per_row


def non_torch_bytes(gpu: GpuFacts, engine: EngineRules, tp: int) -> int:
    """CUDA context and communication buffers of one rank, by release, rounded up; the widest size for wider ones.

    Source: start-up logs, `engines.yaml`. Over PCIe the engine runs without its own all-reduce buffers.

    >>> from planner.catalog import load_engine, load_gpu
    >>> round(non_torch_bytes(load_gpu("h100-sxm-80gb"), load_engine("vllm@0.19"), 2) / 2**30, 2)
    2.08
    """
    fits = ("any", gpu.architecture, *(("nvlink",) if gpu.nvlink else ()))
    sizes = next((row.bytes_by_tp for row in engine.non_torch if row.where in fits), ())
    return next((size for most, size in sizes if tp <= most), sizes[-1][1] if sizes else 0)


def graph_sequences(gpu: GpuFacts, engine: EngineRules, tp: int) -> int:
    """Largest batch whose CUDA graph SGLang captures, by GPU size and tp. Source: SGLang `server_args.py`."""
    narrow, wide = server_defaults(gpu, engine).graph_sequences
    return wide if tp >= WIDE_GRAPH_TP else narrow


def sglang_reserved_bytes(gpu: GpuFacts, engine: EngineRules, shape: Parallel, chunked_prefill_tokens: int) -> int:
    """What SGLang keeps out of its static memory by default for activations and CUDA graphs.

    In MiB: 512 + 1.5 * max(chunk, 2048) + 128 * tp * pp + 2 * largest captured batch, plus 3 (4.5 above 300)
    per captured sequence and rank of attention data parallelism; at least 10 GiB on GPUs above 60 GiB.
    Source: SGLang 0.5 `server_args.py` (`_handle_gpu_memory_settings`).

    >>> from planner.catalog import load_engine, load_gpu
    >>> gpu, engine = load_gpu("h100-sxm-80gb"), load_engine("sglang@0.5")
    >>> sglang_reserved_bytes(gpu, engine, Parallel(tp=8), 8192) // 2**20  # 512 + 12288 + 1024 + 1024
    14848
    """
    graphs = graph_sequences(gpu, engine, shape.tp)
    reserved_mib = 512 + Fraction(3, 2) * max(chunked_prefill_tokens, 2_048) + 128 * shape.tp * shape.pp + 2 * graphs
    if shape.dp > 1:
        reserved_mib += graphs * shape.dp * (Fraction(9, 2) if graphs > 300 else 3)
    if gpu.memory_bytes > 60 * GIB:
        reserved_mib = max(reserved_mib, Fraction(10 * 1_024))
    return int(reserved_mib * MIB)


def doubts(model: ModelFacts, gpu: GpuFacts, engine: EngineRules, shape: Parallel) -> tuple[str, ...]:
    """What of the overheads no measurement stands behind."""
    found = []
    if gpu.vendor != "nvidia":
        found.append(f"overheads on {gpu.vendor.upper()} GPUs: taken from NVIDIA")
    elif gpu.id not in MEASURED_GPUS:
        found.append(f"overheads on {gpu.id}: taken from H100")
    if shape.tp > MEASURED_TP:
        found.append(f"non-torch memory at tp{shape.tp}: continued from tp{MEASURED_TP}")
    if shape.pp > 1:
        found.append("non-torch memory of pipeline stages: as without them (0.07 GiB seen)")
    if shape.dp > 1 or shape.ep:
        found.append("activations under data or expert parallelism: not measured")
    if is_multimodal(model):
        found.append("peak of the vision tower: its embeddings only")
    if model.has_state:
        found.append("peak of recurrent layers: not measured")
    if engine.name != "vllm":
        found.append(f"overheads of {engine.name}: context and buffers as measured with vLLM")
    return tuple(found)
