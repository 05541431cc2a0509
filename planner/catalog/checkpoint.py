"""Reading real models from the disk: a config, a model folder, safetensors files, an index, GGUF, the HF cache.

Only headers are read, nothing is executed and nothing is fetched. What cannot be read comes back as a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from planner.catalog.checkpoint_types import Checkpoint, CheckpointKind, TensorInfo, shown
from planner.catalog.files import Json, read_json_object
from planner.catalog.gguf_config import config_of_gguf
from planner.catalog.gguf_file import GgufHeader, read_gguf
from planner.catalog.hub_cache import download_advice, find_snapshot, hub_id
from planner.catalog.safetensors import read_header, read_index, unreadable

__all__ = ["Checkpoint", "CheckpointKind", "TensorInfo", "read_checkpoint"]

MAX_PARTS = 1_000
"""Files of one checkpoint. The largest published ones have 200."""

_MAX_LISTED = 10_000
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.safetensors|\.gguf)")

_Tensors = tuple[TensorInfo, ...]


def read_checkpoint(ref: str, base_dir: Path) -> Checkpoint | str:
    """Read a model, or say in a sentence what is wrong or what was looked for.

    Args:
        ref: the path of a `config.json`, a model folder, a safetensors file, an index or a GGUF file; or a hub id
            `org/name[@revision]` that the local Hugging Face cache holds.
        base_dir: the folder from which a relative path counts.
    """
    if not ref.strip() or "\0" in ref:
        return "a model needs a path or a hub id"
    path = base_dir / ref
    source = Path(ref).name if Path(ref).is_absolute() else ref
    try:
        if path.is_dir():
            return _read_folder(path, source, source)
        if path.exists():
            return _read_file(path, source) if path.is_file() else f"'{source}' is neither a file nor a folder"
    except (OSError, ValueError) as error:
        return f"'{source}' {unreadable(error)}"
    named = hub_id(ref)
    if named is None:
        return f"no file '{ref}' (paths count from the file that names them)"
    snapshot = find_snapshot(*named)
    if isinstance(snapshot, str):
        return snapshot
    found = _read_folder(snapshot, f"{named[0]}@{snapshot.name[:12]}", str(snapshot))
    if isinstance(found, str) and not (snapshot / "config.json").is_file():
        return f"{found}; {download_advice(*named)}"
    return found


def _read_file(path: Path, source: str) -> Checkpoint | str:
    if path.suffix == ".gguf" or _starts_like_gguf(path):
        return _read_gguf(path, source, None)
    if path.suffix == ".safetensors":
        config = _config_beside(path, source)
        return config if isinstance(config, str) else _read_safetensors(path, source, config)
    if path.name.endswith(".index.json"):
        config = _config_beside(path, source)
        return config if isinstance(config, str) else _read_index(path, source, config)
    tree = read_json_object(path)
    return f"'{source}' {tree}" if isinstance(tree, str) else Checkpoint(source, tree, (), 0, "config")


def _starts_like_gguf(path: Path) -> bool:
    """Whether a file of any name is GGUF, as the blobs of caches and of Ollama are."""
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def _config_beside(path: Path, source: str) -> Mapping[str, Json] | str | None:
    """The `config.json` in the same folder; None where there is none."""
    beside = path.parent / "config.json"
    if not beside.is_file():
        return None
    tree = read_json_object(beside)
    return f"the config.json beside '{source}' {tree}" if isinstance(tree, str) else tree


def _read_folder(folder: Path, source: str, place: str) -> Checkpoint | str:
    """A model folder: its config, and the sizes from an index, safetensors files or GGUF files, in this order.

    `place` is the folder as the user would write it.
    """
    config = _config_beside(folder / "config.json", source)
    if isinstance(config, str):
        return config
    try:
        listed = [path for path, _ in zip(folder.iterdir(), range(_MAX_LISTED), strict=False)]
        names = sorted(path.name for path in listed if path.is_file())
    except OSError as error:
        return f"'{source}' {unreadable(error)}"
    weights = _weights_file(names)
    if weights:
        name = f"{source}/{weights}"
        path = folder / weights
        if weights.endswith(".gguf"):
            return _read_gguf(path, name, config)
        return _read_index(path, name, config) if weights.endswith(".json") else _read_safetensors(path, name, config)
    several = [name for name in names if name.endswith((".gguf", ".safetensors"))]
    if several and not (config and all(name.endswith(".safetensors") for name in several)):
        some = ", ".join(several[:8]) + (", ..." if len(several) > 8 else "")
        return f"'{source}' holds several checkpoints; give the path of one, in {place}: {some}"
    if config is None:
        return f"'{source}' holds no config.json, no *.safetensors and no *.gguf"
    return Checkpoint(f"{source}/config.json", config, (), 0, "config")


def _weights_file(names: list[str]) -> str:
    """The file from which the weights of a folder are read; empty when there is none or the choice is open."""
    for name in ("model.safetensors.index.json", "model.safetensors"):
        if name in names:
            return name
    for suffix in (".safetensors.index.json", ".safetensors", ".gguf"):
        found = [name for name in names if name.endswith(suffix) and not name.startswith(("mmproj", "adapter_"))]
        sets = {part["stem"] if (part := _PART.fullmatch(name)) else name for name in found}
        if len(sets) == 1:
            return found[0]
        if sets:
            return ""
    return "pytorch_model.bin.index.json" if "pytorch_model.bin.index.json" in names else ""


def _read_safetensors(path: Path, source: str, config: Mapping[str, Json] | None) -> Checkpoint | str:
    """One file, or all parts of the checkpoint that it is a part of."""
    index = path.parent / "model.safetensors.index.json"
    if _PART.fullmatch(path.name) and index.is_file():
        return _read_index(index, source, config)
    paths = _parts(path, source)
    if isinstance(paths, str):
        return paths
    tensors: dict[str, TensorInfo] = {}
    for part in paths:
        found = read_header(part)
        if isinstance(found, str):
            return f"'{_beside(source, part)}' {found}"
        for tensor in found:
            if tensor.name in tensors:
                return f"'{source}' holds tensor {shown(tensor.name)} in two of its files"
            tensors[tensor.name] = tensor
    return _sized(source, config, tuple(tensors.values()), "safetensors")


def _sized(source: str, config: Mapping[str, Json] | None, tensors: _Tensors, kind: CheckpointKind) -> Checkpoint:
    return Checkpoint(source, config, tensors, sum(tensor.size_bytes for tensor in tensors), kind)


def _beside(source: str, path: Path) -> str:
    return str(Path(source).parent / path.name)


def _parts(path: Path, source: str) -> tuple[Path, ...] | str:
    """All files of a checkpoint in parts (`x-00001-of-00003.gguf`), in order; else the file alone."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return (path,)
    count = int(match["count"])
    if not 1 <= count <= MAX_PARTS or not 1 <= int(match["number"]) <= count:
        return f"'{source}' claims to be part {int(match['number']):,} of {count:,}; at most {MAX_PARTS:,} are read"
    paths = tuple(
        path.parent / f"{match['stem']}-{number:05d}-of-{match['count']}{match['suffix']}"
        for number in range(1, count + 1)
    )
    missing = [part.name for part in paths if not part.is_file()]
    if missing:
        return f"'{source}' is one part of {count:,}, and {len(missing):,} are missing beside it, first {missing[0]}"
    return paths


def _read_index(path: Path, source: str, config: Mapping[str, Json] | None) -> Checkpoint | str:
    """Headers of all files that an index names, or its total where they do not lie beside it."""
    index = read_index(path)
    if isinstance(index, str):
        return f"'{source}' {index}"
    total_bytes, placed = index
    files = sorted(set(placed.values()))
    if len(files) > MAX_PARTS:
        return f"'{source}' names {len(files):,} files; at most {MAX_PARTS:,} are read"
    missing = [file for file in files if not (path.parent / file).is_file()]
    if missing or not all(file.endswith(".safetensors") for file in files):
        if total_bytes:
            return Checkpoint(source, config, (), total_bytes, "index")
        return f"'{source}' has no metadata.total_size, and {len(missing)} of its {len(files)} files are not beside it"
    tensors: list[TensorInfo] = []
    for file in files:
        found = read_header(path.parent / file)
        if isinstance(found, str):
            return f"'{_beside(source, path.parent / file)}' {found}"
        tensors += (tensor for tensor in found if placed.get(tensor.name) == file)
    if len(tensors) != len(placed):
        absent = sorted(set(placed) - {tensor.name for tensor in tensors})
        return f"'{source}' places tensor {shown(absent[0])} in a file that does not hold it"
    return _sized(source, config, tuple(tensors), "safetensors")


def _read_gguf(path: Path, source: str, beside: Mapping[str, Json] | None) -> Checkpoint | str:
    """A GGUF file with all its parts. A config beside it stands in where its architecture is not understood."""
    paths = _parts(path, source)
    if isinstance(paths, str):
        return paths
    headers: list[GgufHeader] = []
    for part in paths:
        found = read_gguf(part)
        if isinstance(found, str):
            return f"'{_beside(source, part)}' {found}"
        headers.append(found)
    tensors = {tensor.name: tensor for header in headers for tensor in header.tensors}
    problem = _wrong_parts(headers, len(tensors))
    if problem:
        return f"'{source}' {problem}"
    whole = GgufHeader(headers[0].metadata, headers[0].lengths, tuple(tensors.values()))
    config = config_of_gguf(whole)
    if isinstance(config, str):
        if beside is None or "num_hidden_layers" not in beside:
            return f"'{source}' {config}"
        return _sized(source, beside, whole.tensors, "gguf")
    return _sized(source, config, whole.tensors, "gguf")


def _wrong_parts(headers: list[GgufHeader], tensors: int) -> str:
    """What is wrong with the parts of a split file, empty when they belong together."""
    metadata = headers[0].metadata
    count = metadata.get("split.count", 1)
    if count != len(headers) and (count, len(headers)) != (0, 1):
        return f"says that it is split into {shown(str(count))} files; {len(headers)} are named so"
    if sum(len(header.tensors) for header in headers) != tensors:
        return "holds a tensor twice in its parts"
    listed = metadata.get("split.tensors.count", tensors)
    return "" if listed == tensors else f"lists {shown(str(listed))} tensors, and {tensors:,} are there"
