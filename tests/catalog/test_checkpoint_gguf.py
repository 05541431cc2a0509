"""GGUF files, written with the library `gguf`: the config that their metadata stand for.

Expected figures are those of the models' own `config.json` files; layer counts of hybrids are those of the
model cards (Gemma-3-27B: 52 sliding and 10 full layers; Qwen3-Next: every fourth layer is full attention).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from planner.catalog import load_model
from planner.catalog.checkpoint import Checkpoint, read_checkpoint
from planner.catalog.gguf_config import gguf_architectures
from planner.catalog.types import AttentionKv, ModelFacts, StateKv

Keys = dict[str, object]


def write(path: Path, arch: str, keys: Keys, shapes: dict[str, tuple[int, ...]] | None = None) -> None:
    """A GGUF file with these keys under its architecture and float16 tensors of these shapes."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in keys.items():
        name = key if key.startswith(("general.", "split.", "tokenizer.")) else f"{arch}.{key}"
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            writer.add_uint32(name, int(str(value)))
    for name, shape in (shapes or {"output_norm.weight": (4,)}).items():
        writer.add_tensor(name, np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def plain(layers: int, hidden: int, heads: int, kv_heads: object, **more: object) -> Keys:
    """The keys that every decoder has."""
    return {
        "block_count": layers,
        "context_length": 32_768,
        "embedding_length": hidden,
        "feed_forward_length": 4 * hidden,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        **{key.replace("__", "."): value for key, value in more.items()},
    }


@pytest.fixture
def facts_of(tmp_path: Path) -> Callable[..., ModelFacts]:
    """Write a file and read the facts of its model."""

    def build(arch: str, keys: Keys, shapes: dict[str, tuple[int, ...]] | None = None) -> ModelFacts:
        write(tmp_path / "m.gguf", arch, keys, shapes)
        facts = load_model("m.gguf", tmp_path)
        assert isinstance(facts, ModelFacts), facts
        return facts

    return build


def refusal(tmp_path: Path, arch: str, keys: Keys, shapes: dict[str, tuple[int, ...]] | None = None) -> str:
    """The sentence that refuses a file."""
    write(tmp_path / "m.gguf", arch, keys, shapes)
    found = read_checkpoint("m.gguf", tmp_path)
    assert isinstance(found, str)
    return found


def kinds(facts: ModelFacts) -> Counter[str]:
    """How many layers keep what."""
    return Counter(
        layer.reach if isinstance(layer, AttentionKv) else layer.kind if isinstance(layer, StateKv) else "none"
        for layer in facts.kv_layers
    )


def bytes_per_token(facts: ModelFacts) -> int:
    """16-bit KV of one token over all attention layers."""
    return 2 * sum(
        layer.kv_heads * (layer.key_dim + layer.value_dim)
        for layer in facts.kv_layers
        if isinstance(layer, AttentionKv)
    )


def test_llama(facts_of):
    """Llama-3.1-8B: 128 KiB of 16-bit KV a token; untied because it has an output matrix."""
    keys = plain(32, 4096, 32, 8, context_length=131_072, feed_forward_length=14_336)
    facts = facts_of("llama", keys, {"token_embd.weight": (256, 8), "output.weight": (256, 8)})
    assert bytes_per_token(facts) == 131_072
    assert (facts.model_type, facts.vocab_size, facts.tied_embeddings) == ("llama", 256, False)
    assert (facts.max_context_tokens, facts.ffn_size, facts.native_weights) == (131_072, 14_336, "bf16")


def test_vocabulary_without_embeddings(facts_of):
    """The vocabulary counts where no embedding is listed, and no matrix is claimed to be tied."""
    keys = plain(2, 64, 4, 4) | {"tokenizer.ggml.tokens": [f"t{n}" for n in range(321)]}
    assert facts_of("llama", keys).vocab_size == 321


def test_mistral_and_mixtral(facts_of):
    """The architecture llama stands for Mistral where it has a window and for Mixtral where it has experts."""
    mistral = facts_of("llama", plain(32, 4096, 32, 8, attention__sliding_window=4096))
    assert kinds(mistral) == {"sliding": 32}
    mixtral = facts_of("llama", plain(32, 4096, 32, 8, expert_count=8, expert_used_count=2))
    assert (mixtral.model_type, mixtral.experts, mixtral.experts_per_token) == ("mixtral", 8, 2)
    assert bytes_per_token(mixtral) == 131_072


def test_head_size_of_its_own(facts_of):
    """Qwen3-32B: heads of 128, not 5120 / 64."""
    facts = facts_of("qwen3", plain(64, 5120, 64, 8, attention__key_length=128, attention__value_length=128))
    assert facts.head_dim == 128
    assert bytes_per_token(facts) == 2 * 64 * 8 * 128 * 2


def test_experts(facts_of):
    """Qwen3-30B-A3B: 128 experts of 768, 8 a token; the width may come from the stacked experts."""
    keys = plain(48, 2048, 32, 4, attention__key_length=128, attention__value_length=128)
    keys |= {"expert_count": 128, "expert_used_count": 8}
    facts = facts_of("qwen3moe", keys, {"blk.0.ffn_up_exps.weight": (128, 768, 2)})
    assert (facts.experts, facts.experts_per_token, facts.expert_ffn_size) == (128, 8, 768)


@pytest.mark.parametrize(
    ("arch", "keys", "expected"),
    [
        # gemma-2-9b: every second layer slides
        ("gemma2", plain(42, 3584, 16, 8, attention__key_length=256, attention__value_length=256), (21, 21, 4096)),
        # gemma-3-27b: one layer in six is full
        ("gemma3", plain(62, 5376, 32, 16, attention__key_length=128, attention__value_length=128), (52, 10, 1024)),
        # gpt-oss-20b: every second layer slides
        ("gpt-oss", plain(24, 2880, 64, 8, attention__key_length=64, attention__value_length=64), (12, 12, 128)),
        # c4ai-command-r7b: one layer in four is full
        ("cohere2", plain(32, 4096, 32, 8), (24, 8, 4096)),
    ],
)
def test_windows(facts_of, arch, keys, expected):
    """Alternating windows come at the pattern of the architecture."""
    sliding, full, window = expected
    keys |= (
        {"attention.sliding_window": window, "expert_count": 32, "expert_used_count": 4}
        if arch == "gpt-oss"
        else {"attention.sliding_window": window}
    )
    facts = facts_of(arch, keys)
    assert kinds(facts) == {"sliding": sliding, "full": full}
    first = facts.kv_layers[0]
    assert isinstance(first, AttentionKv)
    assert first.window_tokens == window


def test_listed_windows_and_shared_layers(facts_of):
    """Gemma-3n-E4B lists its windows and shares the last 15 layers: 16 sliding and 4 full ones are kept."""
    keys = plain(35, 2048, 8, 2, attention__key_length=256, attention__value_length=256)
    keys |= {
        "attention.sliding_window": 512,
        "attention.sliding_window_pattern": [(n + 1) % 5 != 0 for n in range(35)],
        "attention.shared_kv_layers": 15,
    }
    assert kinds(facts_of("gemma3n", keys)) == {"sliding": 16, "full": 4, "none": 15}


def test_heads_of_two_sizes(facts_of):
    """Gemma-4-26B-A4B: sliding layers have 8 heads of 256, full ones 2 of 512."""
    slides = [(n + 1) % 6 != 0 for n in range(30)]
    keys = plain(30, 2816, 16, [8 if sliding else 2 for sliding in slides])
    keys |= {
        "attention.sliding_window": 1024,
        "attention.sliding_window_pattern": slides,
        "attention.key_length": 512,
        "attention.value_length": 512,
        "attention.key_length_swa": 256,
        "attention.value_length_swa": 256,
        "attention.shared_kv_layers": 0,
        "expert_count": 128,
        "expert_used_count": 8,
        "expert_feed_forward_length": 704,
    }
    facts = facts_of("gemma4", keys, {"blk.0.attn_k.weight": (8 * 256, 2), "blk.5.attn_k.weight": (2 * 512, 2)})
    assert Counter((layer.kv_heads, layer.key_dim) for layer in facts.kv_layers if layer) == {(8, 256): 25, (2, 512): 5}


@pytest.mark.parametrize("recent", [True, False])
def test_latent_attention(facts_of, recent):
    """DeepSeek-V3: 576 elements a token and layer, in files of both conventions."""
    keys = plain(61, 7168, 128, 1 if recent else 128)
    keys |= {
        "attention.key_length": 576 if recent else 192,
        "attention.value_length": 512 if recent else 128,
        "attention.kv_lora_rank": 512,
        "attention.q_lora_rank": 1536,
        "rope.dimension_count": 64,
        "expert_count": 256,
        "expert_used_count": 8,
        "expert_shared_count": 1,
        "expert_feed_forward_length": 2048,
        "leading_dense_block_count": 3,
        "expert_gating_func": 2,
    }
    if recent:
        keys |= {"attention.key_length_mla": 192, "attention.value_length_mla": 128}
    facts = facts_of("deepseek2", keys, {"blk.0.attn_kv_a_mqa.weight": (576, 2)})
    assert bytes_per_token(facts) == 61 * 576 * 2
    assert (facts.model_type, facts.kv_lora_rank, facts.qk_nope_head_dim, facts.v_head_dim) == (
        "deepseek_v3",
        512,
        128,
        128,
    )
    assert (facts.experts, facts.shared_experts, facts.ffn_layers.count("dense")) == (256, 1, 3)


def test_sparse_indexer(facts_of):
    """GLM-5: latent attention with an indexer key of 128, and one layer of multi-token prediction beyond 78."""
    keys = plain(79, 6144, 64, 1)
    keys |= {
        "attention.key_length": 576,
        "attention.value_length": 512,
        "attention.key_length_mla": 256,
        "attention.value_length_mla": 256,
        "attention.kv_lora_rank": 512,
        "rope.dimension_count": 64,
        "attention.indexer.key_length": 128,
        "attention.indexer.head_count": 32,
        "attention.indexer.top_k": 2048,
        "nextn_predict_layers": 1,
        "expert_count": 256,
        "expert_used_count": 8,
    }
    facts = facts_of("glm-dsa", keys)
    assert (facts.layers, len(facts.draft_layers)) == (78, 1)
    first = facts.kv_layers[0]
    assert isinstance(first, AttentionKv)
    assert (first.key_dim, first.value_dim, first.index_dim) == (576, 0, 128)


def delta_net(layers: int, value_heads: int) -> Keys:
    """Keys of Qwen3-Next and Qwen3.5."""
    keys = plain(layers, 2048, 16, 2, attention__key_length=256, attention__value_length=256)
    return keys | {
        "ssm.conv_kernel": 4,
        "ssm.state_size": 128,
        "ssm.group_count": 16,
        "ssm.time_step_rank": value_heads,
        "ssm.inner_size": 128 * value_heads,
        "full_attention_interval": 4,
    }


def test_delta_net(facts_of):
    """Qwen3-Next-80B: 36 Gated DeltaNet layers with a 16-bit state, 12 full ones."""
    keys = delta_net(48, 32) | {"expert_count": 512, "expert_used_count": 10, "expert_feed_forward_length": 512}
    facts = facts_of("qwen3next", keys, {"blk.3.attn_k.weight": (512, 2)})
    assert kinds(facts) == {"gdn": 36, "full": 12}
    state = facts.kv_layers[0]
    assert isinstance(state, StateKv)
    assert (state.heads, state.head_dim, state.groups, state.state_dim) == (32, 128, 16, 128)
    assert (state.conv_kernel, state.state_element_bytes) == (4, 2)


def test_delta_net_of_qwen_3_5(facts_of):
    """Qwen3.5-27B keeps its state in 32 bits, and its file may end with a layer of multi-token prediction."""
    facts = facts_of("qwen35", delta_net(65, 48) | {"nextn_predict_layers": 1})
    assert kinds(facts) == {"gdn": 48, "full": 16}
    assert len(facts.draft_layers) == 1
    assert isinstance(facts.kv_layers[0], StateKv)
    assert facts.kv_layers[0].state_element_bytes == 4


def test_mamba_hybrids(facts_of):
    """Layers without KV heads are Mamba-2: granite-4.0-h-small has 36 of them and 4 of attention."""
    heads = [8 if layer in (5, 15, 25, 35) else 0 for layer in range(40)]
    keys = plain(40, 4096, 32, heads, context_length=2**20, expert_count=72, expert_used_count=10)
    keys |= {"ssm.conv_kernel": 4, "ssm.state_size": 128, "ssm.group_count": 1, "ssm.time_step_rank": 128}
    facts = facts_of("granitehybrid", keys | {"ssm.inner_size": 8192})
    assert kinds(facts) == {"mamba2": 36, "full": 4}
    assert isinstance(facts.kv_layers[0], StateKv)
    assert (facts.kv_layers[0].heads, facts.kv_layers[0].head_dim, facts.kv_layers[0].groups) == (128, 64, 1)
    assert facts.max_context_tokens == 0


def test_blocks_of_one_kind_each(facts_of):
    """Nemotron-3-Nano-30B: the pattern of its config comes back from KV heads and widths by block."""
    pattern = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
    keys = plain(52, 2688, 32, [2 if kind == "*" else 0 for kind in pattern])
    keys |= {
        "feed_forward_length": [1856 if kind == "E" else 0 for kind in pattern],
        "attention.key_length": 128,
        "attention.value_length": 128,
        "ssm.conv_kernel": 4,
        "ssm.state_size": 128,
        "ssm.group_count": 8,
        "ssm.time_step_rank": 64,
        "ssm.inner_size": 4096,
        "expert_count": 128,
        "expert_used_count": 6,
    }
    facts = facts_of("nemotron_h_moe", keys)
    assert kinds(facts) == {"mamba2": 23, "full": 6, "none": 23}
    assert [index for index, layer in enumerate(facts.kv_layers) if isinstance(layer, AttentionKv)] == [
        index for index, kind in enumerate(pattern) if kind == "*"
    ]
    assert facts.ffn_layers.count("moe") == 23


def test_mamba_1_hybrid(facts_of):
    """Jamba-v0.1: attention in layers 4, 12, 20 and 28, Mamba-1 elsewhere, experts in every second layer."""
    keys = plain(32, 4096, 32, [8 if layer % 8 == 4 else 0 for layer in range(32)])
    keys |= {"ssm.conv_kernel": 4, "ssm.state_size": 16, "ssm.inner_size": 8192, "ssm.time_step_rank": 256}
    keys |= {"expert_count": 16, "expert_used_count": 2}
    experts = {f"blk.{layer}.ffn_gate_exps.weight": (2, 4, 4) for layer in range(1, 32, 2)}
    facts = facts_of("jamba", keys, experts)
    assert kinds(facts) == {"mamba1": 28, "full": 4}
    assert [index for index, layer in enumerate(facts.kv_layers) if isinstance(layer, AttentionKv)] == [4, 12, 20, 28]
    assert facts.ffn_layers.count("moe") == 16


def test_chunks(facts_of):
    """Llama 4: three layers in four attend within chunks of 8,192 tokens."""
    keys = plain(48, 5120, 40, 8, attention__key_length=128, attention__value_length=128)
    keys |= {"expert_count": 16, "expert_used_count": 1, "expert_feed_forward_length": 8192}
    facts = facts_of("llama4", keys | {"interleave_moe_layer_step": 1, "context_length": 1_048_576})
    assert kinds(facts) == {"chunked": 36, "full": 12}


def test_one_kv_head(facts_of):
    """Falcon-7B has 71 heads of 64 and one for keys and values, Falcon-40B eight."""
    assert bytes_per_token(facts_of("falcon", plain(32, 4544, 71, 1))) == 2 * 32 * 64 * 2
    assert bytes_per_token(facts_of("falcon", plain(60, 8192, 128, 8))) == 2 * 60 * 8 * 64 * 2


def test_blocks_without_attention(facts_of):
    """Nemotron-NAS: a block without KV heads keeps nothing."""
    keys = plain(4, 1024, 8, [2, 0, 4, 2], feed_forward_length=[64, 64, 0, 64])
    facts = facts_of("deci", keys | {"attention.head_count": [8, 0, 8, 8]})
    assert [layer.kv_heads if isinstance(layer, AttentionKv) else None for layer in facts.kv_layers] == [2, None, 4, 2]


def test_multi_token_prediction(facts_of):
    """GLM-4.5-Air: 47 blocks are 46 layers and one that predicts further tokens."""
    keys = plain(47, 4096, 96, 8, nextn_predict_layers=1, expert_count=128, expert_used_count=8)
    facts = facts_of("glm4moe", keys | {"attention.key_length": 128, "attention.value_length": 128})
    assert (facts.layers, len(facts.draft_layers), facts.head_dim) == (46, 1, 128)


def test_stretched_positions(facts_of):
    """Linear scaling multiplies the context, YaRN counts from the original length."""
    linear = plain(2, 64, 4, 4) | {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    assert facts_of("llama", linear).max_context_tokens == 131_072
    yarn = linear | {"rope.scaling.type": "yarn", "rope.scaling.original_context_length": 8_192}
    assert facts_of("llama", yarn).max_context_tokens == 32_768


def test_unknown_architecture(tmp_path):
    """What is not understood is refused by name; a full config beside the file stands in."""
    message = refusal(tmp_path, "rwkv7", plain(2, 64, 4, 4))
    assert "the GGUF architecture 'rwkv7', which is not understood yet; understood are " in message
    (tmp_path / "f").mkdir()
    (tmp_path / "m.gguf").rename(tmp_path / "f" / "m.gguf")
    (tmp_path / "f" / "config.json").write_text('{"model_type": "x", "num_hidden_layers": 3}')
    found = read_checkpoint("f", tmp_path)
    assert isinstance(found, Checkpoint)
    assert (found.kind, found.config) == ("gguf", {"model_type": "x", "num_hidden_layers": 3})


@pytest.mark.parametrize(
    ("arch", "keys", "shapes", "words"),
    [
        # keys of other width than the metadata claim
        (
            "llama",
            plain(2, 64, 4, 2),
            {"blk.1.attn_k.weight": (64, 64)},
            "keys of layer 1 are 64 wide, the metadata say 32",
        ),
        # attention in a layer that the metadata call Mamba
        (
            "granitehybrid",
            plain(2, 64, 4, [0, 2])
            | dict.fromkeys(("ssm.conv_kernel", "ssm.state_size", "ssm.group_count", "ssm.time_step_rank"), 4)
            | {"ssm.inner_size": 128},
            {"blk.0.attn_k.weight": (32, 64)},
            "keys of layer 0 are 32 wide, the metadata say 0",
        ),
        ("qwen3next", delta_net(4, 32), {"blk.0.attn_k.weight": (512, 64)}, "keys of layer 0 are 512 wide"),
        ("deepseek2", plain(2, 64, 4, 1), None, "kv_lora_rank is missing"),
        ("llama", {"context_length": 3}, None, "block_count is missing"),
        ("llama", plain(2, 64, 4, [4]), None, "attention.head_count_kv has 1 entries for 2 blocks"),
        ("llama", plain(2, 64, 4, 4, nextn_predict_layers=2), None, "leaves no layer of 2"),
        ("llama", plain(20_000, 64, 4, 4), None, "no whole number up to 10,000"),
        ("llama", plain(2, 64, 4, 4, context_length="long"), None, "no whole number"),
        ("jamba", plain(6, 64, 4, [0, 4, 4, 0, 0, 0]) | {"ssm.inner_size": 128}, None, "do not come at even steps"),
        ("gemma4", plain(6, 64, 4, [4, 2, 4, 4, 4, 4], attention__sliding_window=8), None, "KV heads differ"),
        ("clip", {}, None, "projector"),
        ("llama", {"general.type": "adapter"}, None, "an adapter"),
    ],
)
def test_contradictions(tmp_path, arch, keys, shapes, words):
    """Metadata that are incomplete, or that the tensors contradict, are refused."""
    assert words in refusal(tmp_path, arch, keys, shapes)


def test_architectures_are_those_of_the_library():
    """Every name that is understood is a name that the library knows, but for one that came after it."""
    assert set(gguf_architectures()) - set(gguf.MODEL_ARCH_NAMES.values()) == {"deepseek32"}
