"""Models in the local Hugging Face cache: found as huggingface_hub lays them out, never fetched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from planner.catalog import load_model
from planner.catalog.checkpoint import Checkpoint, read_checkpoint
from planner.catalog.hub_cache import cache_folder, hub_id

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": 2048,
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that the environment names."""
    for variable in ("HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def add(cache: Path, name: str, commit: str = COMMIT, ref: str = "main", layers: int = 2) -> Path:
    """A model with linked files, as huggingface_hub writes them."""
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir(exist_ok=True)
    (folder / "blobs" / f"a{commit}").write_text(json.dumps(CONFIG | {"num_hidden_layers": layers}))
    save_file({"w": np.zeros((4, 8), np.float16)}, folder / "blobs" / f"b{commit}")
    (snapshot / "config.json").symlink_to(Path("..", "..", "blobs", f"a{commit}"))
    (snapshot / "model.safetensors").symlink_to(Path("..", "..", "blobs", f"b{commit}"))
    if ref:
        (folder / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return snapshot


def test_linked_snapshot(cache, tmp_path):
    """The snapshot of `main` is read through its links, and the commit is named."""
    add(cache, "org/Model-1.5B")
    found = read_checkpoint("org/Model-1.5B", tmp_path)
    assert isinstance(found, Checkpoint), found
    assert (found.source, found.total_bytes) == ("org/Model-1.5B@0123456789ab/model.safetensors", 64)
    facts = load_model("org/model-1.5b", tmp_path)
    assert not isinstance(facts, str), facts
    assert (facts.layers, facts.kv_heads) == (2, 4)


def test_revisions(cache, tmp_path):
    """A branch, a pull request and a commit name their own snapshots."""
    add(cache, "org/m")
    add(cache, "org/m", OTHER, "refs/pr/7", layers=5)
    for revision, layers in (("", 2), ("@main", 2), ("@refs/pr/7", 5), (f"@{OTHER}", 5)):
        found = read_checkpoint(f"org/m{revision}", tmp_path)
        assert isinstance(found, Checkpoint), found
        assert found.config is not None
        assert found.config["num_hidden_layers"] == layers
    assert "without revision 'v9'; `hf download org/m config.json --revision v9`" in str(
        read_checkpoint("org/m@v9", tmp_path)
    )


def test_only_snapshot(cache, tmp_path):
    """A snapshot that was downloaded by its commit has no `main`: it counts while it is the only one."""
    add(cache, "org/m", ref="")
    assert isinstance(read_checkpoint("org/m", tmp_path), Checkpoint)
    add(cache, "org/m", OTHER, ref="")
    assert "without a single snapshot or 'main'" in str(read_checkpoint("org/m", tmp_path))


def test_not_there(cache, tmp_path):
    """The sentence says where was looked and how to get the model."""
    message = str(read_checkpoint("org/absent", tmp_path))
    assert str(cache) in message
    assert "`hf download org/absent config.json`" in message


def test_pruned_snapshot(cache, tmp_path):
    """Links to blobs that were deleted count as absent; a ref to a lost commit is said to be so."""
    snapshot = add(cache, "org/m")
    for blob in (cache / "models--org--m" / "blobs").iterdir():
        blob.unlink()
    assert "holds no config.json, no *.safetensors and no *.gguf; `hf download org/m config.json`" in str(
        read_checkpoint("org/m", tmp_path)
    )
    for link in snapshot.iterdir():
        link.unlink()
    snapshot.rmdir()
    assert f"names commit {COMMIT} of 'org/m' but does not hold it" in str(read_checkpoint("org/m", tmp_path))


@pytest.mark.parametrize("content", ["../../../secret", "", "main", "x" * 500, "\udc80"])
def test_hostile_ref_file(cache, tmp_path, content):
    """What a ref file holds is followed only when it is a commit."""
    add(cache, "org/m", ref="")
    add(cache, "org/m", OTHER, ref="")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "config.json").write_text(json.dumps(CONFIG))
    refs = cache / "models--org--m" / "refs"
    refs.mkdir()
    (refs / "main").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert isinstance(read_checkpoint("org/m", tmp_path), str)


def test_path_wins(cache, tmp_path):
    """A folder that the user has is read before the cache."""
    add(cache, "org/m")
    (tmp_path / "org" / "m").mkdir(parents=True)
    (tmp_path / "org" / "m" / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": 9}))
    found = read_checkpoint("org/m", tmp_path)
    assert isinstance(found, Checkpoint)
    assert found.config is not None
    assert found.config["num_hidden_layers"] == 9


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HUB_CACHE": "/a", "HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c", "XDG_CACHE_HOME": "/d"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c"}, "/b"),
        ({"HF_HOME": "/c", "XDG_CACHE_HOME": "/d"}, "/c/hub"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
        ({"HOME": "/e"}, "/e/.cache/huggingface/hub"),
        ({"HOME": "/e", "HF_HOME": "~/f"}, "/e/f/hub"),
    ],
)
def test_where_the_cache_is(monkeypatch, variables, folder):
    """The environment variables count in the order of huggingface_hub."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(folder)


@pytest.mark.parametrize(
    "ref", ["m", "a/b/c", "../b", "a/..", "/a/b", "a/b@", "a/b@../c", "a/b@x/../y", "a b/c", "a--b/c", "a/b@-x", "~/b"]
)
def test_no_hub_id(ref):
    """What could lead out of the cache, or is a path, is no hub id."""
    assert hub_id(ref) is None
