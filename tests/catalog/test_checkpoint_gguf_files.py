"""GGUF files, written with the library `gguf`: sizes to the byte, split files, folders, the missing library."""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np

from planner.catalog.checkpoint import Checkpoint, TensorInfo, read_checkpoint


def start(path: Path, arch: str = "llama", **options: int) -> gguf.GGUFWriter:
    """A file with the metadata of a decoder of two layers."""
    writer = gguf.GGUFWriter(path, arch, **options)
    for key, value in (("block_count", 2), ("embedding_length", 512), ("attention.head_count", 4)):
        writer.add_uint32(f"{arch}.{key}", value)
    return writer


def finish(writer: gguf.GGUFWriter) -> None:
    """Write everything."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write(path: Path, arch: str = "llama") -> None:
    """A file with one small tensor."""
    writer = start(path, arch)
    writer.add_tensor("output_norm.weight", np.zeros(4, np.float16))
    finish(writer)


def test_sizes_to_the_byte(tmp_path):
    """Each quantized type takes the bytes that the library writes for it; shapes are outermost first."""
    types = gguf.GGMLQuantizationType
    writer = start(tmp_path / "q.gguf")
    values = np.ones((6, 512), np.float32)
    written = {}
    for kind in (types.Q4_0, types.Q5_1, types.Q8_0, types.Q4_K, types.Q6_K, types.TQ1_0, types.MXFP4):
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        raw = np.zeros((6, 512 // block * block_bytes), np.uint8)
        writer.add_tensor(kind.name.lower(), raw, raw_dtype=kind)
        written[kind.name.lower()] = raw.nbytes
    writer.add_tensor("f32", values)
    writer.add_tensor("bf16", gguf.quantize(values, types.BF16), raw_dtype=types.BF16)
    finish(writer)
    found = read_checkpoint("q.gguf", tmp_path)
    assert isinstance(found, Checkpoint), found
    sizes = {tensor.name: tensor.size_bytes for tensor in found.tensors}
    assert sizes == written | {"f32": 6 * 512 * 4, "bf16": 6 * 512 * 2}
    assert found.total_bytes == sum(sizes.values())
    assert TensorInfo("q4_k", "Q4_K", (6, 512), 6 * 2 * 144) in found.tensors
    reader = gguf.GGUFReader(tmp_path / "q.gguf")
    assert {tensor.name: tensor.n_bytes for tensor in reader.tensors} == sizes


def test_split_files(tmp_path):
    """All parts are summed, whichever is named; the metadata are those of the first."""
    writer = start(tmp_path / "big.gguf", split_max_tensors=2)
    for number in range(5):
        writer.add_tensor(f"t{number}", np.zeros((3, 32), np.float16))
    finish(writer)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"big-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    for name in (*names, "."):
        found = read_checkpoint(name, tmp_path)
        assert isinstance(found, Checkpoint), found
        assert (len(found.tensors), found.total_bytes, found.kind) == (5, 5 * 3 * 32 * 2, "gguf")
        assert found.config is not None
        assert found.config["num_hidden_layers"] == 2
    (tmp_path / names[2]).rename(tmp_path / "other.gguf")
    assert "1 are missing beside it, first big-00003-of-00003.gguf" in str(read_checkpoint(names[0], tmp_path))
    (tmp_path / names[0]).rename(tmp_path / "alone.gguf")
    assert "split into '3' files; 1 are named so" in str(read_checkpoint("alone.gguf", tmp_path))


def test_folder_with_several_quantizations(tmp_path):
    """Which of several files is meant is asked, not guessed; a projector beside one file is no choice."""
    write(tmp_path / "m-Q4.gguf")
    write(tmp_path / "mmproj-m.gguf", "clip")
    assert isinstance(read_checkpoint(".", tmp_path), Checkpoint)
    write(tmp_path / "m-Q8.gguf")
    found = str(read_checkpoint(".", tmp_path))
    assert "several checkpoints" in found
    assert "m-Q8.gguf" in found
    assert "projector" in str(read_checkpoint("mmproj-m.gguf", tmp_path))


def test_any_file_name(tmp_path):
    """Blobs are recognized by their first bytes."""
    write(tmp_path / "sha256-1f")
    assert isinstance(read_checkpoint("sha256-1f", tmp_path), Checkpoint)


def test_quantized_weights_are_named(tmp_path):
    """Facts say that the weights are quantized; 16-bit files count as such."""
    writer = start(tmp_path / "q.gguf")
    kind = gguf.GGMLQuantizationType.Q4_K
    writer.add_tensor("w", np.zeros((2, 144), np.uint8), raw_dtype=kind)
    finish(writer)
    found = read_checkpoint("q.gguf", tmp_path)
    assert isinstance(found, Checkpoint)
    assert found.config is not None
    assert found.config["quantization_config"] == {"quant_method": "gguf", "type": "Q4_K"}


def test_library_missing(tmp_path, monkeypatch):
    """Without the library the sentence says what to install."""
    write(tmp_path / "m.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert "needs `pip install 'kvplan[gguf]'`" in str(read_checkpoint("m.gguf", tmp_path))
