"""Models: catalog ids, hub ids and paths give facts; what is not understood is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planner.catalog import load_model, model_ids
from planner.catalog.hub_index import HUB_IDS, hub_text
from planner.catalog.models import hub_ids
from planner.catalog.types import ModelFacts

NAMED = [
    *("llama-2-7b", "llama-2-13b", "llama-2-70b", "llama-3-8b", "llama-3-70b", "llama-3.1-8b", "llama-3.1-70b"),
    *("llama-3.1-405b", "llama-3.1-405b-first-release", "llama-3.3-70b-instruct", "mixtral-8x7b", "opt-30b"),
    *("mistral-7b", "mistral-7b-v0.1", "mistral-7b-v0.3", "qwen3-8b", "qwen3-14b", "qwen3-32b", "qwen3-30b-a3b"),
    *("qwen2.5-7b", "qwen2.5-72b", "phi-4", "gemma-3-27b", "gpt-oss-20b", "gpt-oss-120b", "deepseek-v2-lite"),
    *("deepseek-v3", "codellama-34b", "qwen3.5-27b", "qwen3.6-35b-a3b", "qwen3-next-80b-a3b", "kimi-vl-a3b"),
]

REFUSED = {
    "deepseek-v4-flash": "'deepseek_v4' is not understood",
    "deepseek-v4-flash-nvfp4": "'deepseek_v4' is not understood",
    "deepseek-v4-flash-reference": "'deepseek_ref' is not understood",
    "deepseek-v4-pro": "'deepseek_v4' is not understood",
    "deepseek-v4-pro-nvfp4": "'deepseek_v4' is not understood",
    "deepseek-v4-pro-reference": "'deepseek_ref' is not understood",
    "nemotron-3-ultra-550b-a55b": "num_hidden_layers is missing",
    "nemotron-3-ultra-550b-a55b-fp8": "num_hidden_layers is missing",
    "nemotron-3-ultra-550b-a55b-nvfp4": "num_hidden_layers is missing",
}
"""Models of the catalog that have no KV, and why; every other one has."""

IN_PART = {"minimax-m3", "minimax-m3-nvfp4"}
"""Models of the catalog with a part whose bytes are not settled."""

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


@pytest.mark.parametrize("model_id", [model_id for model_id in model_ids() if model_id not in REFUSED])
def test_every_catalog_model_has_facts(model_id):
    """Each file of the catalog but those listed here loads, names its source, and knows each of its layers."""
    model = load_model(model_id, Path())
    assert isinstance(model, ModelFacts), model
    assert model.source
    assert bool(model.unsupported) == (model_id in IN_PART)
    assert len(model.kv_layers) == len(model.ffn_layers) == model.layers
    assert any(layer is not None for layer in model.kv_layers)
    assert model_id == model_id.lower()


@pytest.mark.parametrize("model_id", sorted(REFUSED))
def test_the_rest_is_refused_by_name(model_id):
    """The files whose architecture or order of layers is not known say so."""
    assert REFUSED[model_id] in str(load_model(model_id, Path()))


def test_the_named_models_are_there():
    """The catalog has every id that the documentation names."""
    assert set(NAMED) <= set(model_ids())


def test_alias_is_explicit():
    """`mistral-7b` is the release without a window, and says so by its id."""
    model = load_model("mistral-7b", Path())
    assert isinstance(model, ModelFacts)
    assert model.id == "mistral-7b-v0.3"


@pytest.mark.parametrize(
    ("hub_id", "model_id"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("META-LLAMA/llama-3.1-8b-instruct", "llama-3.1-8b"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b-instruct"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "llama-3.1-8b-w8a8"),
        ("RedHatAI/Qwen2.5-7B-Instruct-fp8-dynamic", "qwen2.5-7b-fp8-dynamic"),
        ("moonshotai/Kimi-Dev-72B", "qwen2.5-72b"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8", "qwen3-coder-30b-a3b-fp8"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama-3.1-8b"),
        ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", "mistral-small-3.1-24b"),
        ("Llama-3.1-70B", "llama-3.1-70b"),
    ],
)
def test_hub_ids_in_any_case(hub_id, model_id):
    """A hub id, or a catalog id in capitals, names the model of the catalog."""
    model = load_model(hub_id, Path())
    assert isinstance(model, ModelFacts)
    assert model.id == model_id


def test_the_index_of_hub_ids_is_current():
    """The index holds what the models list, each hub id once; the command in its first line rewrites it."""
    assert HUB_IDS.read_text(encoding="utf-8") == hub_text()
    names = [line.split(": ")[0] for line in hub_text().splitlines()[1:]]
    assert len(names) == len(set(names)) > 200
    assert set(hub_ids().values()) <= set(model_ids())


def test_a_path_wins_over_a_hub_id(tmp_path):
    """A folder of the user's named like a hub id is read, since paths are the user's own word."""
    folder = tmp_path / "qwen" / "qwen3-8b"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    model = load_model("qwen/qwen3-8b", tmp_path)
    assert isinstance(model, ModelFacts)
    assert model.model_type == "llama"


def test_path_of_a_file_and_of_a_folder(tmp_path):
    """A config.json and the folder that holds it give the same facts, counted from the base folder."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text(json.dumps(LLAMA))
    one, other = load_model("mine/config.json", tmp_path), load_model("mine", tmp_path)
    assert isinstance(one, ModelFacts)
    assert isinstance(other, ModelFacts)
    assert (one.layers, one.kv_layers, one.kv_heads) == (other.layers, other.kv_layers, 8)
    assert one.head_dim == 128


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[1, 2]", "no JSON object"),
        ('{"model_type": "llama", "model_type": "opt"}', "repeats the key 'model_type'"),
        ('{"model_type": NaN}', "NaN"),
        ("[" * 100_000, "nested too deeply"),
        ('{"hidden_size": 1}', "model_type is missing"),
        ('{"model_type": "rwkv7", "mamba_d_state": 16}', "Mamba state"),
        ('{"model_type": "next", "linear_conv_kernel_dim": 4}', "linear attention"),
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
    assert "'llama-3.1-70b'" in str(load_model("Llama-3.1-71B", tmp_path))
