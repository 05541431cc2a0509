"""GPU memory that is neither weights nor KV: activation peak, communication buffers, CUDA graphs, and engine
defaults.

vLLM measures the peak with a dummy run at start-up and gives the rest of its budget to the KV pool. The peak
is the larger of two moments: the forward pass over a full batch of tokens, and the sampler over the logits of
all sequences.
Source: start-up logs of vLLM 0.17 to 0.19 on H100 (63 logs, mean error 0.06 GiB, at most 0.30),
llm-d-incubation/ llm-d-planner@d3121e059da8; structure from vLLM `gpu_worker.py` and `fused_moe.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from planner.catalog.types import EngineRules, GpuFacts, ModelFacts
from planner.memory.kv import ceil_div

GIB = 2**30

NVLINK_NON_TORCH_GIB = ((1, Fraction(25, 100)), (2, Fraction(208, 100)), (4, Fraction(216, 100)))
"""CUDA context and NCCL buffers per rank by tensor-parallel size; measured up to tp 4."""

WIDE_NON_TORCH_GIB = Fraction(22, 10)
"""The same for tp 8: continued from tp 4, not measured."""

PCIE_NON_TORCH_GIB = Fraction(3, 10)
"""Over PCIe the engine runs without its own all-reduce and its buffers (0.20 to 0.30 seen)."""

CUDA_GRAPHS_GIB = Fraction(105, 100)
"""Mean of 61 logs (0.51 to 1.85)."""

MEASURED_GPUS = frozenset({"h100-sxm-80gb"})
"""GPUs whose logs the constants come from."""

MEASURED_TP = 4


@dataclass(frozen=True)
class Overheads:
    """Bytes per rank. `margin_bytes`, kept free where nothing was measured, is part of `non_torch_bytes`."""

    activation_bytes: int
    non_torch_bytes: int
    cuda_graph_bytes: int
    margin_bytes: int
    estimated: tuple[str, ...]

    @property
    def total_bytes(self) -> int:
        """What the budget loses to everything but weights and KV."""
        return self.activation_bytes + self.non_torch_bytes + self.cuda_graph_bytes


def default_max_num_seqs(gpu: GpuFacts, engine: EngineRules) -> int:
    """Sequences that the server schedules at once by default: 1,024 from 70 GiB on except on A100, else 256.

    Source: vLLM `EngineArgs.get_batch_defaults`, OpenAI server, 0.19 to 0.33.

    >>> from planner.catalog import load_engine, load_gpu
    >>> default_max_num_seqs(load_gpu("a100-sxm-80gb"), load_engine("vllm@0.24"))
    256
    """
    return 1024 if _is_large(gpu) else 256


def default_max_num_batched_tokens(gpu: GpuFacts, engine: EngineRules) -> int:
    """Tokens of one scheduler step by default: 8,192 from 70 GiB on except on A100, else 2,048; 16,384 from
    160 GiB on in 0.33.

    Source: vLLM `EngineArgs.get_batch_defaults`, OpenAI server, 0.19 to 0.33.

    >>> from planner.catalog import load_engine, load_gpu
    >>> gpu, releases = load_gpu("b200-sxm-180gb"), ("vllm@0.24", "vllm@0.33")
    >>> [default_max_num_batched_tokens(gpu, load_engine(release)) for release in releases]
    [8192, 16384]
    """
    if engine.large_gpu_bytes and gpu.memory_bytes >= engine.large_gpu_bytes:
        return 16_384
    return 8_192 if _is_large(gpu) else 2_048


def _is_large(gpu: GpuFacts) -> bool:
    return gpu.memory_bytes >= 70 * GIB and not gpu.id.startswith("a100")


def activation_bytes(
    model: ModelFacts, engine: EngineRules, tp: int, max_num_seqs: int, max_num_batched_tokens: int
) -> int:
    """Peak of the dummy run on one rank, with the workspace of fused experts.

    max(c * R * V + 2 * T * H, 2 * T * (3 * I / tp + 4 * H)) + experts, with R = min(max_num_seqs, T), T
    batched tokens, V vocabulary, H hidden size, I feed-forward width, c = 15 bytes (not divided by tp).
    Source: fit on 65 start-up logs, mean error 0.043 GiB.

    >>> from pathlib import Path
    >>> from planner.catalog import load_engine, load_model
    >>> model = load_model("llama-3.1-8b", Path())
    >>> peak = activation_bytes(model, load_engine("vllm@0.19"), 1, 1024, 8192)  # log: 1.89 GiB
    >>> round(peak / 2**30, 2)
    1.9
    """
    tokens, hidden = max_num_batched_tokens, model.hidden_size
    rows = min(max_num_seqs, tokens)
    sampler = engine.sampler_bytes_per_logit * rows * model.vocab_size + 2 * tokens * hidden
    forward = 2 * tokens * (3 * ceil_div(model.ffn_size, tp) + 4 * hidden)
    return max(sampler, forward) + expert_workspace_bytes(model, tp, tokens)


def expert_workspace_bytes(model: ModelFacts, tp: int, max_num_batched_tokens: int) -> int:
    """Intermediate results of fused 16-bit or fp8 experts: 2 * T * k * (max(2 * Im / tp, H) + max(Im / tp,
    H)).

    mxfp4 experts run in another kernel that needs none of it. Source: vLLM `fused_moe.py` (intermediate
    caches).
    """
    if not model.is_moe or model.native_weights == "mxfp4":
        return 0
    width, hidden = ceil_div(model.expert_ffn_size, tp), model.hidden_size
    per_row = max(2 * width, hidden) + max(width, hidden)
    return 2 * max_num_batched_tokens * model.experts_per_token * per_row


def non_torch_bytes(gpu: GpuFacts, tp: int) -> int:
    """CUDA context and communication buffers of one rank, rounded up."""
    if tp > 1 and not gpu.nvlink:
        return _bytes(PCIE_NON_TORCH_GIB)
    gib = next((gib for most, gib in NVLINK_NON_TORCH_GIB if tp <= most), WIDE_NON_TORCH_GIB)
    return _bytes(gib)


def overheads(
    model: ModelFacts,
    gpu: GpuFacts,
    engine: EngineRules,
    *,
    tp: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
) -> Overheads:
    """Everything but weights and KV that the budget pays for, and what of it is an estimate."""
    doubts = _doubts(model, gpu, tp)
    margin = 0
    if doubts:
        margin = _bytes(Fraction(1, 2) if tp == 1 else Fraction(1))
        doubts += (f"non-torch memory includes a margin of {'0.5' if tp == 1 else '1'} GiB for that",)
    memory = ("GPU memory total: driver figure less 1 %",) if gpu.memory_estimated else ()
    return Overheads(
        activation_bytes=activation_bytes(model, engine, tp, max_num_seqs, max_num_batched_tokens),
        non_torch_bytes=non_torch_bytes(gpu, tp) + margin,
        cuda_graph_bytes=_bytes(CUDA_GRAPHS_GIB) if engine.graphs_in_budget else 0,
        margin_bytes=margin,
        estimated=memory + doubts,
    )


def _doubts(model: ModelFacts, gpu: GpuFacts, tp: int) -> tuple[str, ...]:
    found = []
    if gpu.vendor != "nvidia":
        found.append(f"overheads on {gpu.vendor.upper()} GPUs: taken from NVIDIA")
    elif gpu.id not in MEASURED_GPUS:
        found.append(f"overheads on {gpu.id}: taken from H100")
    if tp > MEASURED_TP:
        found.append(f"non-torch memory at tp{tp}: continued from tp{MEASURED_TP}")
    if model.vision_params:
        found.append("peak of the vision tower: not measured")
    return tuple(found)


def _bytes(gib: Fraction) -> int:
    return -((-gib * GIB) // 1)
