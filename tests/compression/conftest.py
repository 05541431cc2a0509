"""Facts of real hardware and models as plain records, so that these tests need no catalog."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from planner.catalog.types import AttentionKv, EngineRules, GpuFacts, ModelFacts

if TYPE_CHECKING:
    from planner.compression.language_model import LanguageModel

FP8_FAMILY = ("auto", "fp8", "fp8_e4m3", "fp8_e5m2")
FROM_0_24 = (
    *FP8_FAMILY,
    "int8_per_token_head",
    "fp8_per_token_head",
    "turboquant_k8v4",
    "turboquant_4bit_nc",
    "turboquant_k3v4_nc",
    "turboquant_3bit_nc",
    "nvfp4",
)
DTYPES = {"0.19": FP8_FAMILY, "0.24": FROM_0_24, "0.33": (*FROM_0_24, "int4_per_token_head")}


class Facts:
    """Builds engines, GPUs and models for a test."""

    @staticmethod
    def engine(version: str) -> EngineRules:
        """A vLLM release with the KV dtypes of its `CacheDType` (source: vLLM 0.19, 0.24, 0.33)."""
        return EngineRules(
            "vllm", version, f"vllm@{version}", 16, 920_000, True, 15, DTYPES[version], "vLLM CacheDType"
        )

    @staticmethod
    def gpu(gpu_id: str, capability: str, vendor: str = "nvidia") -> GpuFacts:
        """A GPU of which only vendor and compute capability matter here."""
        return GpuFacts(gpu_id, vendor, "", 80 << 30, False, 1, 1, 1, 1, 700, capability, "test")

    @staticmethod
    def llama_70b() -> ModelFacts:
        """Llama-3.3-70B-Instruct: 80 layers, 8 KV heads, head_dim 128 (its config.json)."""
        return ModelFacts(
            id="llama-3.3-70b-instruct",
            model_type="llama",
            layers=80,
            hidden_size=8192,
            heads=64,
            kv_heads=8,
            head_dim=128,
            v_head_dim=128,
            ffn_size=28672,
            gated_ffn=True,
            vocab_size=128256,
            max_context_tokens=131072,
            tied_embeddings=False,
            kv_layers=(AttentionKv(8, 128, 128),) * 80,
            ffn_layers=("dense",) * 80,
        )

    @classmethod
    def mla(cls) -> ModelFacts:
        """The same with multi-head latent attention."""
        return replace(cls.llama_70b(), id="an-mla-model", kv_lora_rank=512)

    @classmethod
    def windowed(cls) -> ModelFacts:
        """The same with sliding windows in every second layer."""
        return replace(
            cls.llama_70b(),
            id="a-windowed-model",
            kv_layers=(AttentionKv(8, 128, 128), AttentionKv(8, 128, 128, "sliding", 4096)) * 40,
        )


@pytest.fixture
def facts() -> type[Facts]:
    """The builder of engines, GPUs and models."""
    return Facts


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder: a Llama of two layers (4 query, 2 KV heads of 32) with random weights, 64 words."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        initializer_range=0.15,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"[unk]": 0, **{f"w{word}": word + 1 for word in range(63)}}, unk_token="[unk]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[unk]").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> LanguageModel:
    """The same, loaded."""
    from planner.compression.language_model import load_language_model

    return load_language_model(tiny_folder)
