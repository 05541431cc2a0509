"""Checkpoints: configs, folders, safetensors files and indexes, written with the library `safetensors`."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from planner.catalog import load_model
from planner.catalog.checkpoint import Checkpoint, TensorInfo, read_checkpoint
from planner.catalog.safetensors import read_header

CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": 2048,
}
Arrays = dict[str, np.ndarray]


def layer(number: int) -> Arrays:
    """Some tensors of one layer: 64 x 64 in 16 bits and 64 in 32 bits."""
    prefix = f"model.layers.{number}"
    return {
        f"{prefix}.q_proj.weight": np.zeros((64, 64), np.float16),
        f"{prefix}.norm.weight": np.zeros(64, np.float32),
    }


LAYER_BYTES = 64 * 64 * 2 + 64 * 4


def read(path: Path) -> Checkpoint:
    """A checkpoint that must be readable."""
    found = read_checkpoint(path.name, path.parent)
    assert isinstance(found, Checkpoint), found
    return found


def refusal(path: Path) -> str:
    """The sentence that refuses a path."""
    found = read_checkpoint(path.name, path.parent)
    assert isinstance(found, str)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder that holds only its config."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path / "m"


def write_shards(folder: Path, count: int, **index: object) -> list[Path]:
    """One layer a file, and an index over all of them."""
    names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    placed = {}
    for number, name in enumerate(names):
        save_file(layer(number), folder / name)
        placed |= dict.fromkeys(layer(number), name)
    tree = {"metadata": {"total_size": count * LAYER_BYTES}, "weight_map": placed} | index
    (folder / "model.safetensors.index.json").write_text(json.dumps(tree))
    return [folder / name for name in names]


def test_config_alone(folder):
    """A config says nothing of the weights' size; a folder with nothing else is read the same."""
    alone = read(folder / "config.json")
    assert alone == Checkpoint("config.json", CONFIG, (), 0, "config")
    assert read(folder) == Checkpoint("m/config.json", CONFIG, (), 0, "config")


def test_single_file_to_the_byte(folder):
    """Names, types, shapes and sizes are those that the library wrote, and the config beside it is found."""
    arrays = {"a": np.zeros((3, 5), np.float16), "b": np.zeros((2, 2, 7), np.int8), "c": np.zeros((), np.float64)}
    save_file(arrays, folder / "model.safetensors", metadata={"format": "np"})
    found = read(folder)
    assert set(found.tensors) == {
        TensorInfo("a", "F16", (3, 5), 30),
        TensorInfo("b", "I8", (2, 2, 7), 28),
        TensorInfo("c", "F64", (), 8),
    }
    assert (found.total_bytes, found.kind, found.source) == (66, "safetensors", "m/model.safetensors")
    assert found.config == CONFIG
    assert read(folder / "model.safetensors").tensors == found.tensors


def test_file_without_config(tmp_path):
    """Tensors without a config give sizes, and a sentence where the architecture is asked for."""
    save_file(layer(0), tmp_path / "lone.safetensors")
    found = read(tmp_path / "lone.safetensors")
    assert found.config is None
    assert found.total_bytes == LAYER_BYTES
    assert "no architecture; put the model's config.json beside it" in str(load_model("lone.safetensors", tmp_path))


def test_header_without_data(tmp_path):
    """A file that holds only its header, as range requests fetch it, gives all sizes: here 160 GB."""
    header = {
        f"w{n}": {"dtype": "BF16", "shape": [8192, 100_000], "data_offsets": [n * S, n * S + S]} for n in range(98)
    }
    data = json.dumps(header).encode()
    (tmp_path / "header.safetensors").write_bytes(struct.pack("<Q", len(data)) + data)
    assert read(tmp_path / "header.safetensors").total_bytes == 98 * S


S = 8192 * 100_000 * 2


def test_unknown_dtype_is_kept(tmp_path):
    """A type that is newer than this release has the size that its offsets state."""
    data = json.dumps({"w": {"dtype": "F3_E1M1", "shape": [8], "data_offsets": [0, 3]}}).encode()
    (tmp_path / "new.safetensors").write_bytes(struct.pack("<Q", len(data)) + data + b"\0\0\0")
    assert read(tmp_path / "new.safetensors").tensors == (TensorInfo("w", "F3_E1M1", (8,), 3),)


def test_index_with_its_files(folder):
    """Headers count where they lie beside the index, whatever its total says."""
    write_shards(folder, 3, metadata={"total_size": 1})
    for name in ("m/model.safetensors.index.json", "m", "m/model-00002-of-00003.safetensors"):
        found = read_checkpoint(name, folder.parent)
        assert isinstance(found, Checkpoint)
        assert (len(found.tensors), found.total_bytes, found.kind) == (6, 3 * LAYER_BYTES, "safetensors")
        assert found.config == CONFIG


def test_index_says_which_copy_counts(folder):
    """A tensor that lies in two files counts once, in the file that the index names."""
    first, second = write_shards(folder, 2)
    save_file(layer(1) | layer(2), second)
    found = read(folder)
    assert (len(found.tensors), found.total_bytes) == (4, 2 * LAYER_BYTES)
    assert first.stat().st_size < second.stat().st_size


def test_index_without_its_files(folder):
    """The total of an index is all that is known where its files, or one of them, are elsewhere."""
    shards = write_shards(folder, 3)
    shards[1].unlink()
    found = read(folder)
    assert found == Checkpoint("m/model.safetensors.index.json", CONFIG, (), 3 * LAYER_BYTES, "index")


def test_index_without_files_or_total(folder):
    """Without a total the missing files are a refusal: a part of the weights would be too little."""
    write_shards(folder, 2, metadata={})[0].unlink()
    assert "no metadata.total_size, and 1 of its 2 files are not beside it" in refusal(folder)


def test_files_without_an_index(folder):
    """All parts of a checkpoint are read together, whichever is named; a missing part is a refusal."""
    shards = write_shards(folder, 3)
    (folder / "model.safetensors.index.json").unlink()
    assert read(folder).total_bytes == 3 * LAYER_BYTES
    assert read(shards[2]).total_bytes == 3 * LAYER_BYTES
    shards[1].unlink()
    assert "is one part of 3, and 1 are missing beside it, first model-00002-of-00003" in refusal(shards[0])
    assert "model-00002-of-00003" in refusal(folder)


def test_index_of_pickled_weights(folder):
    """Pickled weights are never opened; the total of their index counts."""
    tree = {"metadata": {"total_size": 7}, "weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(tree))
    (folder / "pytorch_model-00001-of-00001.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert read(folder) == Checkpoint("m/pytorch_model.bin.index.json", CONFIG, (), 7, "index")


def test_several_checkpoints_in_a_folder(tmp_path):
    """A folder with two checkpoints and no config is not guessed at."""
    save_file(layer(0), tmp_path / "one.safetensors")
    save_file(layer(0), tmp_path / "two.safetensors")
    assert "holds several checkpoints; give the path of one" in str(read_checkpoint(".", tmp_path))


def test_facts(folder):
    """The facts of a folder are those of its config, and name what was read."""
    facts = load_model("m", folder.parent)
    assert not isinstance(facts, str)
    assert (facts.layers, facts.kv_heads, facts.head_dim) == (2, 2, 16)
    assert facts.source.startswith("m (config.json")


def test_absolute_paths_stay_private(folder):
    """What was read is named without the folders above it."""
    found = read_checkpoint(str(folder / "config.json"), Path("/"))
    assert isinstance(found, Checkpoint)
    assert found.source == "config.json"


@pytest.mark.parametrize("ref", ["", "  ", "a\0b", "no.json", "../nowhere/config.json", "x" * 300, "a/" * 2000])
def test_no_such_thing(tmp_path, ref):
    """What is not there is a sentence, never an exception."""
    assert isinstance(read_checkpoint(ref, tmp_path), str)


def test_fast_on_many_files(folder):
    """The headers of 200 files with 400 tensors each are read in well under 2 s."""
    count = 200
    placed = {}
    for number in range(count):
        name = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        header = {
            f"layers.{number}.experts.{n}.weight": {
                "dtype": "BF16",
                "shape": [2, 4],
                "data_offsets": [16 * n, 16 * n + 16],
            }
            for n in range(400)
        }
        placed |= dict.fromkeys(header, name)
        data = json.dumps(header).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(data)) + data)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    start = time.process_time()
    assert read(folder).total_bytes == 200 * 400 * 16
    assert time.process_time() - start < 2


def test_light_import():
    """Reading checkpoints loads neither numpy nor the GGUF library before a GGUF file is met."""
    code = "import sys, planner.catalog.checkpoint; print(sorted({'numpy', 'gguf', 'torch'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


SHAPES = st.lists(st.integers(0, 5), max_size=3)
TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_}


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=9),
        st.tuples(st.sampled_from(sorted(TYPES)), SHAPES),
        max_size=5,
    )
)
def test_whatever_the_library_writes(tmp_path_factory, wanted):
    """Every file that the library writes is read as it was meant."""
    wanted.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("any") / "x.safetensors"
    save_file({name: np.zeros(shape, TYPES[kind]) for name, (kind, shape) in wanted.items()}, path)
    found = read_header(path)
    assert not isinstance(found, str), found
    assert {(t.name, t.dtype, t.shape, t.size_bytes) for t in found} == {
        (name, kind, tuple(shape), prod(shape) * np.dtype(TYPES[kind]).itemsize)
        for name, (kind, shape) in wanted.items()
    }
