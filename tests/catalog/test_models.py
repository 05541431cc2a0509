"""Models: catalog files load, `config.json` fields are read as engines read them, the rest is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import load_model, model_ids
from planner.catalog.architectures import FAMILIES, text_facts
from planner.catalog.types import ModelFacts

REQUIRED = [
    "llama-2-7b",
    "llama-2-13b",
    "llama-2-70b",
    "llama-3-8b",
    "llama-3-70b",
    "llama-3.1-8b",
    "llama-3.1-70b",
    "llama-3.1-405b",
    "llama-3.1-405b-first-release",
    "llama-3.3-70b-instruct",
    "mixtral-8x7b",
    "opt-30b",
    "mistral-7b",
    "mistral-7b-v0.1",
    "mistral-7b-v0.3",
    "qwen3-8b",
    "qwen3-14b",
    "qwen3-32b",
    "qwen3-30b-a3b",
    "qwen2.5-7b",
    "qwen2.5-72b",
    "phi-4",
    "gemma-3-27b",
    "gpt-oss-20b",
    "gpt-oss-120b",
    "deepseek-v2-lite",
    "deepseek-v3",
    "codellama-34b",
]

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
}


def read(tmp_path: Path, tree: object) -> ModelFacts | str:
    """Facts of a config written to a file, as a user would name it."""
    (tmp_path / "config.json").write_text(tree if isinstance(tree, str) else json.dumps(tree))
    return load_model("config.json", tmp_path)


@pytest.mark.parametrize("model_id", model_ids())
def test_every_catalog_model_is_understood(model_id):
    """Each file of the catalog loads, names its source and holds nothing that memory refuses."""
    model = load_model(model_id, Path())
    assert isinstance(model, ModelFacts), model
    assert model.source
    assert not model.unsupported
    assert len(model.layer_windows) == model.layers
    assert model_id == model_id.lower()


def test_the_named_models_are_there():
    """The catalog has every id that the documentation names."""
    assert set(REQUIRED) <= set(model_ids())


@pytest.mark.parametrize(
    ("model_id", "layers", "kv_heads", "head_dim", "context"),
    [
        ("llama-2-7b", 32, 32, 128, 4_096),
        ("llama-3.1-405b", 126, 8, 128, 131_072),
        ("llama-3.1-405b-first-release", 126, 16, 128, 131_072),
        ("opt-30b", 48, 56, 128, 2_048),
        ("qwen3-32b", 64, 8, 128, 40_960),  # head_dim is not 5,120 / 64
        ("gpt-oss-120b", 36, 8, 64, 131_072),  # nor 2,880 / 64
        ("gemma-2b", 18, 1, 256, 8_192),
        ("deepseek-v3", 61, 1, 576, 163_840),  # 128 KV heads of the config do not count with a latent
    ],
)
def test_facts_of_models(model_id, layers, kv_heads, head_dim, context):
    """Layers, KV heads, head size and context of models are those of their papers and configs."""
    model = load_model(model_id, Path())
    assert isinstance(model, ModelFacts)
    assert (model.layers, model.kv_heads, model.head_dim) == (layers, kv_heads, head_dim)
    assert model.max_context_tokens == context


@pytest.mark.parametrize(
    ("model_id", "windows"),
    [
        ("mistral-7b-v0.1", {4_096: 32}),
        ("mistral-7b-v0.3", {0: 32}),
        ("gemma-3-27b", {0: 10, 1_024: 52}),
        ("gemma-2-9b", {0: 21, 4_096: 21}),
        ("gpt-oss-20b", {0: 12, 128: 12}),
        ("qwen2-7b", {0: 28}),  # the config carries a window that use_sliding_window leaves off
        ("phi-3.5-mini", {0: 32}),  # its window is longer than its context
    ],
)
def test_windows(model_id, windows):
    """Which layers slide follows layer_types and the switches of each model type."""
    model = load_model(model_id, Path())
    assert isinstance(model, ModelFacts)
    assert Counter(model.layer_windows) == windows


def test_qwen_window_needs_its_switch(tmp_path):
    """A Qwen config that carries a window but leaves use_sliding_window off has full attention."""
    model = read(tmp_path, LLAMA | {"model_type": "qwen2", "sliding_window": 512})
    assert isinstance(model, ModelFacts)
    assert (set(model.layer_windows), model.unsupported) == ({0}, ())


def test_alias_is_explicit():
    """`mistral-7b` is the release without a window, and says so by its id."""
    model = load_model("mistral-7b", Path())
    assert isinstance(model, ModelFacts)
    assert model.id == "mistral-7b-v0.3"


def test_path_of_a_file_and_of_a_folder(tmp_path):
    """A config.json and the folder that holds it give the same facts, counted from the base folder."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text(json.dumps(LLAMA))
    one, other = load_model("mine/config.json", tmp_path), load_model("mine", tmp_path)
    assert isinstance(one, ModelFacts)
    assert isinstance(other, ModelFacts)
    assert (one.layers, one.layer_windows, one.kv_heads) == (other.layers, other.layer_windows, 8)
    assert one.head_dim == 128


def test_missing_fields_are_listed_together(tmp_path):
    """Every missing field is named in one sentence."""
    tree = {key: value for key, value in LLAMA.items() if key not in ("vocab_size", "num_hidden_layers")}
    message = read(tmp_path, tree)
    assert isinstance(message, str)
    assert "num_hidden_layers is missing" in message
    assert "vocab_size is missing" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[1, 2]", "no JSON object"),
        ('{"model_type": "llama", "model_type": "opt"}', "repeats the key 'model_type'"),
        ('{"model_type": NaN}', "NaN"),
        ("[" * 100_000, "nested too deeply"),
        ('{"hidden_size": 1}', "model_type is missing"),
        ('{"model_type": "jamba", "mamba_d_state": 16}', "Mamba state"),
        ('{"model_type": "qwen3_next", "linear_conv_kernel_dim": 4}', "linear attention"),
        ('{"model_type": "t5", "is_encoder_decoder": true}', "encoder-decoder"),
        ('{"model_type": "mllama", "text_config": {}}', "'mllama' is not understood"),
        ('{"model_type": "gemma3"}', "text_config is missing"),
        ("1" * 5_000, "not JSON"),
    ],
)
def test_bad_files_are_a_sentence(tmp_path, text, words):
    """A file that is no understood config gives a sentence with the reason, never an exception."""
    message = read(tmp_path, text)
    assert isinstance(message, str)
    assert words in message
    assert "config.json" in message


def test_binary_and_huge_files(tmp_path):
    """Bytes that are no text, and files too large for a config, are refused before they are parsed."""
    path = tmp_path / "config.json"
    path.write_bytes(b"\xff\xfe\x00\x80")
    assert "UTF-8" in str(load_model("config.json", tmp_path))
    path.write_bytes(b" " * 4_000_001)
    assert "larger than" in str(load_model("config.json", tmp_path))


@pytest.mark.parametrize("ref", ["", " ", "\0", "no/such.json", "llama-3.1-9b", "x" * 5_000])
def test_refs_that_name_nothing(tmp_path, ref):
    """A reference that names neither a catalog id nor a file is a sentence."""
    assert isinstance(load_model(ref, tmp_path), str)


def test_close_id_is_offered(tmp_path):
    """A misspelled id gets the nearest one."""
    assert "'llama-3.1-70b'" in str(load_model("Llama-3.1-70B", tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": -1}, "hidden_size is -1"),
        ({"hidden_size": 1.5}, "hidden_size is 1.5"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_key_value_heads": 5}, "no multiple of num_key_value_heads 5"),
        ({"hidden_size": 4097}, "head_dim is missing"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"layer_types": ["full_attention"]}, "layer_types lists 1 layers"),
    ],
)
def test_wrong_values_are_named(tmp_path, change, words):
    """A field with a value that cannot be is reported with that value."""
    assert words in str(read(tmp_path, LLAMA | change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attention_chunk_size": 8192}, "chunked local attention"),
        ({"num_kv_shared_layers": 4}, "KV shared across layers"),
        ({"index_head_dim": 128}, "sparse-attention indexer"),
        ({"kv_lora_rank": 512}, "latent attention"),
        ({"layer_types": ["linear_attention"] * 32}, "linear_attention"),
        ({"rope_scaling": {"rope_type": "new", "factor": 2}}, "rope_scaling of type 'new'"),
        ({"quantization_config": {"quant_method": "awq"}}, "weights quantized with 'awq'"),
        ({"model_type": "mixtral", "num_local_experts": 8, "sliding_window": 512}, "sliding_window of 512"),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 512}, "without layer_types"),
    ],
)
def test_parts_that_are_not_understood_are_named(tmp_path, change, words):
    """A known model type with a part that cannot be counted loads, and names the part as unsupported."""
    model = read(tmp_path, LLAMA | {"num_experts_per_tok": 2} | change)
    assert isinstance(model, ModelFacts), model
    assert any(words in part for part in model.unsupported)


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        (None, "bf16"),
        ({}, "bf16"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            "fp8",
        ),
    ],
)
def test_native_weights(tmp_path, quantization, expected):
    """The dtype that a checkpoint ships in is read from its quantization_config."""
    model = read(tmp_path, LLAMA | {"quantization_config": quantization})
    assert isinstance(model, ModelFacts)
    assert (model.native_weights, model.unsupported) == (expected, ())


@pytest.mark.parametrize(
    ("scaling", "context"),
    [
        (None, 8_192),
        ({"rope_type": "llama3", "factor": 8.0}, 8_192),
        ({"type": "linear", "factor": 4.0}, 32_768),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4_096}, 16_384),
        ({"rope_type": "yarn", "factor": 2.0}, 16_384),
    ],
)
def test_context_follows_rope_scaling(tmp_path, scaling, context):
    """Linear scaling and YaRN stretch the context, llama3 scaling is already in it."""
    model = read(tmp_path, LLAMA | {"rope_scaling": scaling})
    assert isinstance(model, ModelFacts)
    assert model.max_context_tokens == context
    assert model.rope_positions == context


def test_gemma_3_reads_its_nested_config_with_defaults(tmp_path):
    """A Gemma-3 config as published leaves fields to their class defaults and counts its vision tower."""
    tree = {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "num_hidden_layers": 34,
            "sliding_window": 1024,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "image_size": 896,
            "patch_size": 14,
        },
    }
    model, known = read(tmp_path, tree), load_model("gemma-3-4b", Path())
    assert isinstance(model, ModelFacts)
    assert isinstance(known, ModelFacts)
    for field in ("layer_windows", "heads", "kv_heads", "head_dim", "vocab_size", "vision_params"):
        assert getattr(model, field) == getattr(known, field)
    assert "vision_config" in str(read(tmp_path, tree | {"vision_config": {"model_type": "clip"}}))


awkward = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        3,
        2**70,
        0.5,
        float("inf"),
        "",
        "yarn",
        [],
        ["full_attention"],
        [None],
        {},
        {"factor": 1e308},
    ]
    + [{"type": kind, "factor": factor} for kind in ("yarn", "linear", 3) for factor in (0, 8, float("inf"), "8")]
    + [{"quant_method": method, "config_groups": 3} for method in ("compressed-tensors", "modelopt", None, [])]
)


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(FAMILIES)),
    st.dictionaries(
        st.sampled_from([*LLAMA, "head_dim", "layer_types", "rope_scaling", "quantization_config", "sliding_window"]),
        awkward,
    ),
)
def test_no_config_raises(model_type, change):
    """Whatever stands in the fields, reading gives facts or a sentence."""
    tree = {**LLAMA, **change}
    result = text_facts("random", model_type, tree, "", "")
    assert isinstance(result, ModelFacts | str)
