"""Which presets may be used: engine, GPU, model, ratio and policy gates, with their exact reasons."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from planner.catalog.types import Bottleneck, ModelFacts, Refusal
from planner.compression.policy import Usable, judge
from planner.compression.table import Preset, load_presets, preset_ids
from planner.scenario.types import CompressionPolicy

SUPPORTED = CompressionPolicy()
PUBLISHED = CompressionPolicy(policy="allow_published")

# Llama-3.3-70B on an H100, per release of vLLM; None is usable.
NO_ENGINE = "no engine runs it"
REASONS: dict[str, dict[str, str | None]] = {
    "0.19": {
        "bf16": None,
        "fp8": None,
        "fp8-e5m2": None,
        "int8-per-token-head": "vllm@0.19 has no KV dtype int8_per_token_head, vllm@0.24 does",
        "fp8-per-token-head": "vllm@0.19 has no KV dtype fp8_per_token_head, vllm@0.24 does",
        "int4-per-token-head": "vllm@0.19 has no KV dtype int4_per_token_head, vllm@0.33 does",
        "turboquant-k8v4": "vllm@0.19 has no KV dtype turboquant_k8v4, vllm@0.24 does",
    },
    "0.24": {
        "bf16": None,
        "fp8": None,
        "fp8-e5m2": None,
        "int8-per-token-head": None,
        "fp8-per-token-head": None,
        "int4-per-token-head": "vllm@0.24 has no KV dtype int4_per_token_head, vllm@0.33 does",
        "nvfp4": "h100 has compute capability 9.0, it needs 10.0",
        "turboquant-k8v4": None,
        "turboquant-4bit-nc": None,
        "turboquant-k3v4-nc": "ratio mismatch: declared 3.5x, its bytes give 4.34x at head_dim 128",
        "turboquant-3bit-nc": "ratio mismatch: declared 4.9x, its bytes give 5.02x at head_dim 128",
        "sglang-fp8-e4m3": "vllm does not have it, only sglang",
        "sglang-fp4-e2m1": "vllm does not have it, only sglang",
        "tensorrt-llm-fp8": "vllm does not have it, only tensorrt-llm",
        "lmdeploy-int8": (
            "vllm does not have it, only lmdeploy; ratio mismatch: declared 2.0x, its bytes give 1.94x at head_dim 128"
        ),
        "lmdeploy-int4": (
            "vllm does not have it, only lmdeploy; ratio mismatch: declared 4.0x, its bytes give 3.76x at head_dim 128"
        ),
        "kivi-2bit": f"{NO_ENGINE}; ratio unconfirmed: 2.6x is peak memory with weights, not KV bytes",
        "kvquant-3bit": (
            f"{NO_ENGINE}; ratio unconfirmed: perplexity was measured with simulated quantization, no packed layout"
        ),
        "nexusquant-high": f"{NO_ENGINE}; GPU-resident ratio 1.0x; claim superseded",
        "nexusquant-balanced": f"{NO_ENGINE}; GPU-resident ratio 1.0x; claim superseded",
        "nexusquant-max": f"{NO_ENGINE}; GPU-resident ratio 1.0x; claim superseded",
    },
    "0.33": {"int4-per-token-head": None, "int8-per-token-head": None, "fp8": None},
}


def preset(preset_id: str) -> Preset:
    """A row of the table."""
    return load_presets()[preset_id]


def run(
    preset_id: str,
    facts: Any,
    version: str = "0.33",
    capability: str = "9.0",
    model: ModelFacts | None = None,
    policy: CompressionPolicy = SUPPORTED,
    weights: str | None = None,
) -> Any:
    """Judge a preset on an NVIDIA GPU of some compute capability."""
    return judge(
        preset(preset_id),
        engine=facts.engine(version),
        gpu=facts.gpu("h100" if capability == "9.0" else f"gpu-{capability}", capability),
        model=model or facts.llama_70b(),
        policy=policy,
        weights=weights,
    )


def test_the_golden_reasons_cover_the_whole_table() -> None:
    """Every preset of the table has its golden verdict on vLLM 0.24."""
    later = {name for name in preset_ids() if name.startswith("nexusquant-0.6.3-")}
    assert set(REASONS["0.24"]) | later == set(preset_ids())
    assert not set(REASONS["0.24"]) & later


@pytest.mark.parametrize(("version", "preset_id"), [(v, p) for v, rows in REASONS.items() for p in rows])
def test_reasons_are_worded_as_promised(version: str, preset_id: str, facts: Any) -> None:
    """Each preset is usable or refused with exactly its reason, named `id@version` first."""
    verdict = run(preset_id, facts, version)
    reason = REASONS[version][preset_id]
    if reason is None:
        assert isinstance(verdict, Usable)
        assert verdict.preset == preset(preset_id).name
    else:
        assert isinstance(verdict, Refusal)
        assert verdict.message == f"{preset(preset_id).name}: {reason}"


@pytest.mark.parametrize(("name", "ratio"), [("high", 9), ("balanced", 17), ("max", 33)])
def test_later_claims_of_the_same_names_are_refused_with_numbers(name: str, ratio: int, facts: Any) -> None:
    """What 0.6.3 says of itself is held against packed bytes; all of it stays 16-bit on the GPU."""
    verdict = run(f"nexusquant-0.6.3-{name}", facts)
    assert isinstance(verdict, Refusal)
    head, packed, declared = verdict.message.partition("ratio mismatch: packed tensors give ")
    assert head == f"nexusquant-{name}@0.6.3: no engine runs it; GPU-resident ratio 1.0x; "
    assert packed and declared.endswith(f"declared {ratio}x")


def test_the_nexusquant_sentence(facts: Any) -> None:
    """The superseded claim is refused in the words of the plan."""
    sentence = "nexusquant-max@0.4.0: no engine runs it; GPU-resident ratio 1.0x; claim superseded"
    assert run("nexusquant-max", facts).message == sentence


def test_refusals_name_bottleneck_and_what_would_do(facts: Any) -> None:
    """The engine release or compute capability that would do stands in `nearest`."""
    old = run("int8-per-token-head", facts, "0.19")
    assert (old.bottleneck, old.nearest) == (Bottleneck.ENGINE, "vllm@0.24")
    hopper = run("nvfp4", facts)
    assert (hopper.bottleneck, hopper.nearest) == (Bottleneck.GPU, "compute capability 10.0")
    mismatch = run("turboquant-k3v4-nc", facts)
    assert (mismatch.bottleneck, mismatch.nearest) == (Bottleneck.POLICY, None)


@pytest.mark.parametrize(
    ("preset_id", "capability", "usable"),
    [
        ("bf16", "7.5", True),
        ("fp8", "7.5", False),  # T4
        ("fp8", "8.0", True),  # A100: FlashInfer
        ("fp8", "8.6", True),  # A10G
        ("fp8", "8.9", True),  # L4, L40S
        ("fp8-e5m2", "8.0", True),
        ("int8-per-token-head", "7.5", True),
        ("fp8-per-token-head", "8.6", False),  # Triton has no e4m3 there
        ("fp8-per-token-head", "8.9", True),
        ("nvfp4", "9.0", False),
        ("nvfp4", "10.0", True),  # B200
        ("nvfp4", "10.3", True),  # B300
        ("nvfp4", "12.0", False),  # RTX 5090: open PR
    ],
)
def test_gpu_gates(preset_id: str, capability: str, usable: bool, facts: Any) -> None:
    """Compute capability decides as the engine's backends do."""
    assert isinstance(run(preset_id, facts, capability=capability), Usable) is usable


def test_compute_capabilities_compare_as_numbers(facts: Any) -> None:
    """10.0 is above 8.9, though not as text."""
    assert isinstance(run("fp8-per-token-head", facts, capability="10.0"), Usable)


def test_emulated_fp8_needs_a_head_size_that_flashinfer_has(facts: Any) -> None:
    """On an A100 fp8 KV works at head_dim 64, 128 and 256 only, not at 80 (Phi-2) nor for MLA."""
    phi = replace(facts.llama_70b(), id="phi-2", head_dim=80)
    refused = run("fp8", facts, capability="8.0", model=phi)
    assert refused.bottleneck is Bottleneck.GPU
    assert refused.message.endswith("below 8.9 only head sizes 64, 128, 256 work, phi-2 has head_dim 80")
    assert isinstance(run("fp8", facts, capability="8.9", model=phi), Usable)
    assert run("fp8", facts, capability="8.0", model=facts.mla()).message.endswith("has MLA")


def test_vendors(facts: Any) -> None:
    """An MI300X runs bf16 and fp8 KV, not the CUDA-only presets; its gfx name is no capability."""
    mi300x = facts.gpu("mi300x", "gfx942", "amd")

    def on_amd(preset_id: str) -> Usable | Refusal:
        return judge(
            preset(preset_id),
            engine=facts.engine("0.33"),
            gpu=mi300x,
            model=facts.llama_70b(),
            policy=SUPPORTED,
        )

    assert isinstance(on_amd("bf16"), Usable)
    assert isinstance(on_amd("fp8"), Usable)
    refused = on_amd("nvfp4")
    assert isinstance(refused, Refusal)
    assert refused.message == "nvfp4@vllm-0.24: mi300x is amd, it runs on nvidia only"


@pytest.mark.parametrize(
    ("preset_id", "mla", "windowed"),
    [
        ("bf16", True, True),
        ("fp8", True, True),
        ("fp8-e5m2", False, True),
        ("int8-per-token-head", False, True),
        ("int4-per-token-head", False, False),
        ("turboquant-k8v4", False, False),
    ],
)
def test_attention_kinds(preset_id: str, mla: bool, windowed: bool, facts: Any) -> None:
    """Only bf16 and fp8 KV serve MLA models; int4 and TurboQuant refuse sliding windows."""
    assert isinstance(run(preset_id, facts, model=facts.mla()), Usable) is mla
    assert isinstance(run(preset_id, facts, model=facts.windowed()), Usable) is windowed


def test_e5m2_refuses_fp8_checkpoints(facts: Any) -> None:
    """vLLM raises for fp8_e5m2 KV with fp8 weights (vllm#8409)."""
    assert isinstance(run("fp8-e5m2", facts, weights="bf16"), Usable)
    assert "not with fp8 weights" in run("fp8-e5m2", facts, weights="fp8").message


def test_all_reasons_are_listed_at_once(facts: Any) -> None:
    """A preset that fails three gates names all three, and both things that would have to change."""
    refused = run("nvfp4", facts, "0.19", model=facts.windowed())
    assert refused.message.count("; ") >= 2
    assert refused.nearest == "vllm@0.24, compute capability 10.0"


def test_decode_time_factors_are_never_credited_and_unknown_ones_are_flagged(facts: Any) -> None:
    """int8's published 0.90 counts as 1, nvfp4's unknown factor as 1 with a warning."""
    assert run("int8-per-token-head", facts).decode_time_factor == 1
    assert run("fp8-per-token-head", facts).decode_time_factor == Fraction("1.181")
    nvfp4 = run("nvfp4", facts, capability="10.0")
    assert nvfp4.decode_time_factor == 1
    assert any("no published decode time" in warning for warning in nvfp4.warnings)
    assert any("in software" in warning for warning in run("fp8", facts, capability="8.0").warnings)
    assert not any("in software" in warning for warning in run("fp8", facts).warnings)


def unconfirmed() -> Preset:
    """fp8 as if its bytes were not known."""
    return replace(preset("fp8"), layout_known=False)


def test_allow_names_single_unconfirmed_rows(facts: Any) -> None:
    """An unconfirmed row is refused unless named as id@version, and then it is hypothetical."""

    def verdict(policy: CompressionPolicy, row: Preset) -> Usable | Refusal:
        return judge(
            row,
            engine=facts.engine("0.24"),
            gpu=facts.gpu("h100", "9.0"),
            model=facts.llama_70b(),
            policy=policy,
        )

    refused = verdict(PUBLISHED, unconfirmed())
    assert isinstance(refused, Refusal)
    assert refused.nearest == "compression.allow: [fp8@vllm-0.19]"
    named = verdict(CompressionPolicy(allow=("fp8@vllm-0.19",)), unconfirmed())
    assert isinstance(named, Usable) and named.hypothetical
    assert "hypothetical" in named.warnings[0]
    for wildcard in ("fp8", "fp8@*", "*"):
        assert isinstance(verdict(CompressionPolicy(allow=(wildcard,)), unconfirmed()), Refusal)
    confirmed = verdict(CompressionPolicy(allow=("fp8@vllm-0.19",)), preset("fp8"))
    assert isinstance(confirmed, Usable) and not confirmed.hypothetical


@pytest.mark.parametrize("preset_id", ["turboquant-k3v4-nc", "turboquant-3bit-nc", "nexusquant-max"])
def test_a_mismatch_or_superseded_claim_is_never_selected(preset_id: str, facts: Any) -> None:
    """Not even under allow_published with the row named."""
    policy = CompressionPolicy("allow_published", (preset(preset_id).name,), True)
    assert isinstance(run(preset_id, facts, policy=policy), Refusal)
