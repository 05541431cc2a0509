"""Files that are broken or meant to harm: each is refused with a sentence, soon, without an exception."""

from __future__ import annotations

import json
import os
import struct
import time
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from planner.catalog import load_model
from planner.catalog.checkpoint import Checkpoint, read_checkpoint
from planner.catalog.types import ModelFacts


def refusal(path: Path) -> str:
    """The sentence that refuses a file; it is one line, without control characters, and of bounded length."""
    found = read_checkpoint(path.name, path.parent)
    assert isinstance(found, str), found
    assert found.isprintable()
    assert len(found) < 1_500
    return found


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: object = (2,), dtype: object = "F16", span: object = (0, 4)) -> dict[str, object]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": span}


FOUR = b"\0" * 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is cut off"),
        (b"\0\0\0", "is cut off"),
        (safetensors({"a": entry()}, FOUR)[:20], "is cut off: its header takes"),
        (safetensors(b"{}", length=2**63), "its header would take 9,223,372,036,854,775,808 bytes"),
        (safetensors(b"{}", length=31_000_000), "is cut off: its header takes 31,000,000 bytes"),
        (safetensors({"a": entry()}, b"\0\0"), "is cut off: its tensors take 4 bytes, 2 are there"),
        (safetensors({"a": entry()}, FOUR * 2), "holds 4 bytes that belong to no tensor"),
        (safetensors(b"\xff\xfe{}"), "is not UTF-8 text"),
        (safetensors(b"[1]"), "holds no JSON object"),
        (safetensors(b"{"), "is not JSON"),
        (safetensors(b"1" * 9_000), "too many digits"),
        (safetensors(b'{"a":' * 90_000), "nested too deeply"),
        (safetensors(b'{"a": {"dtype": "F16"}, "a": {}}'), "repeats the key 'a'"),
        (safetensors(b'{"a": {"dtype": "F16", "dtype": "F32"}}'), "repeats the key 'dtype'"),
        (safetensors({"a": 7}), "it is no object"),
        (safetensors({"a": entry(dtype=16)}), "dtype is no name"),
        (safetensors({"a": entry(dtype="\x1b[31m")}), "dtype is no name"),
        (safetensors({"a": entry(shape=[-2])}), "shape is no list"),
        (safetensors({"a": entry(shape=[2.0])}), "shape is no list"),
        (safetensors({"a": entry(shape=[True, 2])}), "shape is no list"),
        (safetensors({"a": entry(shape=[2**60])}), "shape is no list"),
        (safetensors({"a": entry(shape=[1] * 5_000)}), "shape is no list"),
        (safetensors({"a": entry(shape="22")}), "shape is no list"),
        (safetensors({"a": entry(shape=[3])}, FOUR), "F16 of shape [3] does not take 4 bytes"),
        (safetensors({"a": entry(shape=[2**40] * 16)}, FOUR), "does not take 4 bytes"),
        (safetensors({"a": entry(span=[4, 0])}, FOUR), "no two whole numbers in order"),
        (safetensors({"a": entry(span=[0])}, FOUR), "no two whole numbers in order"),
        (safetensors({"a": entry(), "b": entry()}, FOUR), "overlap or leave a gap at byte 4"),
        (safetensors({"a": entry(span=[4, 8])}, FOUR * 2), "overlap or leave a gap at byte 0"),
        (safetensors({"\x1b" * 9_999: 7}), "'\\x1b\\x1b"),
        (b"GGUF" + b"\xff" * 40, "GGUF version"),
        (b"PK\x03\x04" + b"\xff" * 40, "is no safetensors file"),
    ],
)
def test_safetensors(tmp_path, content, words):
    """Each broken safetensors file is refused for what is wrong with it."""
    (tmp_path / "x.safetensors").write_bytes(content)
    assert words in refusal(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/b.safetensors", "..", "", "a\0b", "c:x", "a\\b", 7, []]
)
def test_index_that_leads_elsewhere(tmp_path, name):
    """An index names files of its own folder only."""
    (tmp_path / "x.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    assert "which is no file name of its own folder" in refusal(tmp_path / "x.safetensors.index.json")


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({}, "has no weight_map"),
        ({"weight_map": {}}, "has no weight_map"),
        ({"weight_map": [1]}, "has no weight_map"),
        ({"weight_map": {"a": "x"}, "metadata": {"total_size": -1}}, "total_size that is no number of bytes"),
        ({"weight_map": {"a": "x"}, "metadata": {"total_size": "9" * 99}}, "total_size that is no number of bytes"),
        ({"weight_map": {"a": "x"}, "metadata": {"total_size": True}}, "total_size that is no number of bytes"),
        ({"weight_map": {"a": "x"}, "metadata": {"total_size": 10**30}}, "total_size that is no number of bytes"),
        ({"weight_map": {"a": "x"}, "metadata": 3}, "has no metadata.total_size"),
        ({"weight_map": {f"t{n}": f"f{n}" for n in range(1_001)}}, "names 1,001 files; at most 1,000"),
    ],
)
def test_index(tmp_path, tree, words):
    """Each broken index is refused for what is wrong with it."""
    (tmp_path / "x.safetensors.index.json").write_text(json.dumps(tree))
    assert words in refusal(tmp_path / "x.safetensors.index.json")


def test_index_that_promises_more(tmp_path):
    """A tensor that is not in the file that the index names is missed, and so is one in two files."""
    save_file({"a": np.zeros(2)}, tmp_path / "x.safetensors")
    index = {"weight_map": {"a": "x.safetensors", "b": "x.safetensors"}}
    (tmp_path / "x.safetensors.index.json").write_text(json.dumps(index))
    assert "places tensor 'b' in a file that does not hold it" in refusal(tmp_path / "x.safetensors.index.json")
    for number in (1, 2):
        save_file({"a": np.zeros(2)}, tmp_path / f"y-0000{number}-of-00002.safetensors")
    assert "holds tensor 'a' in two of its files" in refusal(tmp_path / "y-00001-of-00002.safetensors")
    assert "at most 1,000 are read" in refusal_of_new(tmp_path / "y-00001-of-99999.safetensors")


def refusal_of_new(path: Path) -> str:
    """The refusal of a file that holds nothing."""
    path.write_bytes(b"")
    return refusal(path)


def header(tensors: int, pairs: int, rest: bytes = b"", version: int = 3) -> bytes:
    """The start of a GGUF file."""
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest


def text(value: bytes) -> bytes:
    """A string of a GGUF file."""
    return struct.pack("<Q", len(value)) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    """A key with its value."""
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: bytes, dims: tuple[int, ...], kind: int = 1, offset: int = 0, rank: int | None = None) -> bytes:
    """A record of a tensor."""
    sizes = struct.pack(f"<I{len(dims)}Q", len(dims) if rank is None else rank, *dims)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


LLAMA = pair(b"general.architecture", 8, text(b"llama"))
HUGE = struct.pack("<Q", 2**64 - 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not start with 'GGUF'"),
        (b"GGUX" + b"\0" * 60, "does not start with 'GGUF'"),
        (b"GGUF", "is cut off in its header"),
        (header(0, 0, version=1), "GGUF version 1"),
        (header(0, 0, version=2**31), "GGUF version"),
        (header(2**63, 0), "claims 9,223,372,036,854,775,808 tensors"),
        (header(0, 2**40), "which no model has"),
        (header(0, 5), "is cut off in its header"),
        (header(0, 1, HUGE), "has a name of 18,446,744,073,709,551,615 bytes"),
        (header(0, 1, text(b"")), "has a name of 0 bytes"),
        (header(0, 1, text(b"\xff\xff")), "not UTF-8"),
        (header(0, 1, pair(b"a", 99, b"")), "a value of type 99 under 'a'"),
        (header(0, 1, pair(b"a", 8, HUGE)), "is cut off in its header"),
        (header(0, 1, pair(b"a", 9, struct.pack("<IQ", 8, 2**62))), "claims 4,611,686,018,427,387,904 strings"),
        (header(0, 1, pair(b"a", 9, struct.pack("<IQ", 8, 1_999_999) + text(b"x"))), "is cut off in its header"),
        (header(0, 1, pair(b"a", 9, struct.pack("<IQ", 8, 2) + HUGE)), "is cut off in its header"),
        (header(0, 1, pair(b"a", 9, struct.pack("<IQ", 4, 2**63))), "is cut off in its header"),
        (header(0, 1, pair(b"a", 9, struct.pack("<IQ", 9, 1) * 3_000)), "an array of type 9 under 'a'"),
        (header(0, 2, LLAMA * 2), "repeats the key 'general.architecture'"),
        (header(0, 1, pair(b"general.alignment", 4, struct.pack("<I", 0))), "no power of two"),
        (header(0, 1, pair(b"general.alignment", 4, struct.pack("<I", 48))), "no power of two"),
        (header(0, 1, pair(b"general.alignment", 8, text(b"32"))), "no power of two"),
        (header(2, 0, tensor(b"w", (32,)) * 2), "repeats the tensor 'w'"),
        (header(1, 0, tensor(b"w", (32,), 250)), "as type 250, which this `gguf` library does not know"),
        (header(1, 0, tensor(b"w", (2**40, 2**40))), "a shape that no model has"),
        (header(1, 0, tensor(b"w", (0, 4))), "a shape that no model has"),
        (header(1, 0, tensor(b"w", (), rank=2**32 - 1)), "4,294,967,295 dimensions"),
        (header(1, 0, tensor(b"w", (100,), 12)), "as Q4_K, whose blocks have 256"),
        (header(1, 0, tensor(b"w", (32,), offset=8)), "not aligned"),
        (header(1, 0, tensor(b"w", (4,), offset=2**63)), "a shape that no model has"),
        (header(2, 0, tensor(b"v", (32,)) + tensor(b"w", (32,))), "has tensors that overlap"),
        (header(1, 0, tensor(b"w", (32,)) + b"\0" * 70), "is cut off: its tensors take 64 bytes"),
        (header(0, 0), "does not name its architecture"),
        (header(0, 1, LLAMA), "llama.block_count is missing"),
        (header(0, 1, pair(b"general.architecture", 8, text(b"\x1b[2J" * 999))), "the GGUF architecture '\\x1b"),
        (header(0, 1, pair(b"general.architecture", 4, FOUR)), "does not name its architecture"),
    ],
)
def test_gguf(tmp_path, content, words):
    """Each broken GGUF file is refused for what is wrong with it."""
    (tmp_path / "x.gguf").write_bytes(content)
    assert words in refusal(tmp_path / "x.gguf")


@pytest.mark.parametrize(
    "content",
    [
        header(0, 65_000, pair(b"a", 9, struct.pack("<IQ", 8, 1_999_999)) + b"\0" * 15_990_000),
        header(0, 1, pair(b"a", 9, struct.pack("<IQ", 0, 2**40)) + b"\0" * 1_000_000),
        header(900_000, 0, b"\1" + b"\0" * 4_000_000),
    ],
)
def test_time_and_memory_are_bounded(tmp_path, content):
    """Counts as large as a file can claim cost little time, and no memory to speak of."""
    (tmp_path / "x.gguf").write_bytes(content)
    import gguf as _loaded  # noqa: F401  its own import is not what is measured

    start = time.process_time()
    refusal(tmp_path / "x.gguf")
    assert time.process_time() - start < 5
    tracemalloc.start()
    refusal(tmp_path / "x.gguf")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 20_000_000


def test_longest_header(tmp_path):
    """A header that claims a third of a gigabyte in a file that has it is refused unread."""
    (tmp_path / "x.gguf").write_bytes(header(0, 1, pair(b"a", 8, struct.pack("<Q", 300_000_000))))
    os.truncate(tmp_path / "x.gguf", 400_000_000)
    assert "has a header of more than 256,000,000 bytes" in refusal(tmp_path / "x.gguf")


def test_other_byte_order(tmp_path):
    """Files for big-endian machines are read like others."""
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    for key, value in (("block_count", 3), ("embedding_length", 64), ("attention.head_count", 4)):
        writer.add_uint32(f"llama.{key}", value)
    writer.add_tensor("w", np.zeros((4, 8), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_checkpoint("x.gguf", tmp_path)
    assert isinstance(found, Checkpoint), found
    assert found.config is not None
    assert (found.config["num_hidden_layers"], found.total_bytes) == (3, 64)


def test_no_regular_file(tmp_path):
    """A pipe is not waited for, a device not read, a link to itself not followed forever."""
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "device.safetensors").symlink_to("/dev/zero")
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    (tmp_path / "gone.gguf").symlink_to(tmp_path / "nothing")
    for name in ("pipe.gguf", "device.safetensors", "loop.safetensors", "gone.gguf"):
        refusal(tmp_path / name)
    (tmp_path / "model.safetensors").symlink_to("/dev/zero")
    (tmp_path / "config.json").symlink_to("/dev/zero")
    refusal(tmp_path / "model.safetensors")


def test_broken_config_beside(tmp_path):
    """A config that cannot be read is not silently left out."""
    save_file({"a": np.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": 1, "model_type": 2}')
    assert "the config.json beside 'model.safetensors' repeats the key" in refusal(tmp_path / "model.safetensors")
    assert "repeats the key" in str(read_checkpoint(".", tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert "model_type is missing" in str(load_model(".", tmp_path))


def sample_gguf(path: Path) -> bytes:
    """A small, sound file."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in (("block_count", 2), ("embedding_length", 64), ("attention.head_count", 4)):
        writer.add_uint32(f"llama.{key}", value)
    writer.add_token_list(["a", "b", "c"])
    writer.add_array("llama.attention.head_count_kv", [4, 4])
    writer.add_tensor("w", np.zeros((4, 8), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """A folder to write to, and sound files by name."""
    folder = tmp_path_factory.mktemp("samples")
    save_file({"a": np.zeros((2, 3), np.float16), "b": np.zeros(4)}, folder / "x.safetensors")
    found = {"x.safetensors": (folder / "x.safetensors").read_bytes(), "x.gguf": sample_gguf(folder / "x.gguf")}
    found["x.safetensors.index.json"] = json.dumps(
        {"metadata": {"total_size": 44}, "weight_map": {"a": "x.safetensors", "b": "x.safetensors"}}
    ).encode()
    return folder, found


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_damage(samples, data):
    """However a sound file is cut or changed, a checkpoint or a sentence comes back."""
    folder, contents = samples
    name = data.draw(st.sampled_from(sorted(contents)))
    content = bytearray(contents[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    (folder / name).write_bytes(bytes(content[:cut]))
    found = read_checkpoint(name, folder)
    assert isinstance(found, Checkpoint | str)
    assert isinstance(load_model(name, folder), ModelFacts | str)
    for other, sound in contents.items():
        (folder / other).write_bytes(sound)
