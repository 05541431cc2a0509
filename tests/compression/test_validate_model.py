"""Tests of the language model and of what its queries see, on a tiny Llama with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'kvplan[validate]'")
pytest.importorskip("transformers", reason="transformers is not installed: pip install 'kvplan[validate]'")

from planner.compression.codecs import KvCodec, load_kv_codec  # noqa: E402
from planner.compression.language_model import (  # noqa: E402
    LanguageModel,
    Seen,
    ValidationError,
    attend,
    load_language_model,
    run,
    weights_sha256,
)
from planner.compression.validate_stores import (  # noqa: E402
    ExactStore,
    PrefixStore,
    Recorded,
    WriteTimeStore,
    coded_at_write,
    compress_prefix,
    exact_prefix,
)

PREFIX, TOTAL = 200, 260


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    """260 random tokens."""
    return torch.randint(0, 64, (1, TOTAL), generator=torch.Generator().manual_seed(5))


def prefix_logits(model: LanguageModel, codec: KvCodec, tokens: torch.Tensor) -> torch.Tensor:
    """Logits of the continuation over a compressed prefix."""
    store = ExactStore()
    run(model, tokens[:, :PREFIX], store, keep=1)
    prefix = compress_prefix(codec, store.recorded, model.rope_theta)
    return run(model, tokens[:, PREFIX:], PrefixStore(prefix), start=PREFIX)


def write_logits(model: LanguageModel, codec: KvCodec, tokens: torch.Tensor) -> torch.Tensor:
    """Logits of the continuation with KV compressed as it is written."""
    return run(model, tokens, WriteTimeStore(codec, model.layers, PREFIX, model.rope_theta), keep=TOTAL - PREFIX)


def residual(codec_id: str, tokens: int) -> KvCodec:
    """A preset with another recent window."""
    codec = load_kv_codec(codec_id)
    return replace(codec, spec=replace(codec.spec, residual_tokens=tokens))


def overwrite(recorded: Recorded, tokens: torch.Tensor, value: float, layers: range) -> None:
    """Put a constant into K and V of some tokens."""
    for part in (recorded.keys, recorded.values):
        for layer in layers:
            part[layer] = part[layer].masked_fill(tokens[:, None], value)


def test_our_attention_is_the_one_of_transformers(
    tiny_folder: Path, tiny_model: LanguageModel, tokens: torch.Tensor
) -> None:
    """Tests logits against transformers' own eager attention, to 1e-4, whole and continued over an exact prefix."""
    from transformers import AutoModelForCausalLM

    eager = AutoModelForCausalLM.from_pretrained(tiny_folder, attn_implementation="eager", dtype=torch.float32)
    with torch.inference_mode():
        expected = eager(tokens).logits
    store = ExactStore()
    assert torch.allclose(run(tiny_model, tokens, store), expected, atol=1e-4)
    head = ExactStore()
    run(tiny_model, tokens[:, :PREFIX], head)
    continued = run(tiny_model, tokens[:, PREFIX:], PrefixStore(exact_prefix(head.recorded), exact=True), start=PREFIX)
    assert torch.allclose(continued, expected[:, PREFIX:], atol=1e-4)


def test_sixteen_bits_change_nearly_nothing(tiny_model: LanguageModel, tokens: torch.Tensor) -> None:
    """Tests that the 16-bit control is close to exact KV in both protocols, and not the same by accident."""
    exact = run(tiny_model, tokens, ExactStore(), keep=TOTAL - PREFIX)
    for logits in (prefix_logits, write_logits):
        found = logits(tiny_model, load_kv_codec("fp16"), tokens)
        assert 0 < (found - exact).norm() < 2e-3 * exact.norm()


def test_coarser_codes_err_more(tiny_model: LanguageModel, tokens: torch.Tensor) -> None:
    """Tests that the error grows from 8 over 4 to 2 bits in both protocols."""
    exact = run(tiny_model, tokens, ExactStore(), keep=TOTAL - PREFIX)
    for logits in (prefix_logits, write_logits):
        errors = [
            float((logits(tiny_model, load_kv_codec(name), tokens) - exact).norm())
            for name in ("int8-per-token-head", "lmdeploy-int4", "e8-k2v2")
        ]
        assert errors == sorted(errors)
        assert errors[0] * 4 < errors[1]


def test_a_write_time_query_of_the_prompt_sees_compressed_keys(tiny_model: LanguageModel, tokens: torch.Tensor) -> None:
    """Tests that the two protocols differ, and that prompt positions are wrong too at write time only."""
    exact = run(tiny_model, tokens, ExactStore())
    codec = load_kv_codec("lmdeploy-int4")
    store = WriteTimeStore(codec, tiny_model.layers, PREFIX, tiny_model.rope_theta)
    written = run(tiny_model, tokens, store)
    assert (written - exact)[:, : PREFIX - 1].norm() > 0.01
    assert not torch.allclose(written[:, PREFIX:], prefix_logits(tiny_model, codec, tokens), atol=1e-3)


def test_an_evicted_token_has_no_influence(tiny_model: LanguageModel, tokens: torch.Tensor) -> None:
    """Tests that evicted K and V may hold anything at all, and that zero keys would not have done."""
    codec = load_kv_codec("evict-60")
    store = ExactStore()
    run(tiny_model, tokens[:, :PREFIX], store)
    keep = codec.keep_mask(store.recorded.keys[0][0])
    prefix = compress_prefix(codec, store.recorded, tiny_model.rope_theta)
    assert prefix.keys[0].shape[2] == int(keep.sum()) == codec.spec.kept_tokens(PREFIX)
    found = run(tiny_model, tokens[:, PREFIX:], PrefixStore(prefix), start=PREFIX)
    overwrite(store.recorded, ~keep, 1e4, range(1, tiny_model.layers))  # layer 0's keys decide who is evicted
    again = compress_prefix(codec, store.recorded, tiny_model.rope_theta)
    assert torch.equal(run(tiny_model, tokens[:, PREFIX:], PrefixStore(again), start=PREFIX), found)
    overwrite(store.recorded, ~keep, 0.0, range(tiny_model.layers))
    zeroed = run(tiny_model, tokens[:, PREFIX:], PrefixStore(exact_prefix(store.recorded)), start=PREFIX)
    assert not torch.allclose(zeroed, found, atol=1e-3)


def test_eviction_at_write_time_starts_where_the_prompt_ends(tiny_model: LanguageModel, tokens: torch.Tensor) -> None:
    """Tests that without quantization both protocols evict the same tokens: the same logits but for 16 bits."""
    codec = load_kv_codec("evict-60")
    both = (logits(tiny_model, codec, tokens) for logits in (prefix_logits, write_logits))
    assert torch.allclose(*both, atol=5e-3)
    full = run(tiny_model, tokens, ExactStore(), keep=TOTAL - PREFIX)
    assert not torch.allclose(prefix_logits(tiny_model, codec, tokens), full, atol=5e-2)


def test_a_window_over_everything_leaves_sixteen_bits(tiny_model: LanguageModel, tokens: torch.Tensor) -> None:
    """Tests that a recent window as long as the text makes 2-bit KV equal 16-bit KV at write time."""
    plain = write_logits(tiny_model, load_kv_codec("fp16"), tokens)
    whole = write_logits(tiny_model, residual("kivi-2bit", TOTAL), tokens)
    assert (whole - plain).norm() < 1e-3 * plain.norm()  # another order of sums may move a 16-bit rounding
    short = write_logits(tiny_model, residual("kivi-2bit", 32), tokens)
    assert (short - plain).norm() > 0.05 * plain.norm()


@pytest.mark.parametrize(("residual_tokens", "group"), [(0, 1), (1, 1), (5, 1), (8, 4), (3, 4)])
def test_which_keys_are_compressed_at_write_time(residual_tokens: int, group: int) -> None:
    """Tests the mask against a simulation: tokens arrive one by one, whole groups leave the window."""
    tokens = 20
    mask = coded_at_write(tokens, residual_tokens, group)
    for query in range(tokens):
        present = query + 1
        coded = max(0, present - residual_tokens) // group * group
        assert mask[query].tolist() == [key < coded for key in range(tokens)]


def test_grouped_queries_share_their_key_head() -> None:
    """Tests attention of 4 query heads over 2 KV heads against the softmax written out."""
    dice = torch.Generator().manual_seed(1)
    query, keys, values = (torch.randn(1, heads, 3, 8, generator=dice) for heads in (4, 2, 2))
    found = attend(query, Seen(keys, values, None), 0.5)
    for head in range(4):
        scores = query[0, head] @ keys[0, head // 2].T * 0.5
        weights = scores.masked_fill(~torch.ones(3, 3).tril().bool(), -torch.inf).softmax(-1)
        assert torch.allclose(found[0, head], weights @ values[0, head // 2], atol=1e-6)


def test_a_model_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    """Tests a path to nothing and a folder without weights."""
    with pytest.raises(ValidationError, match="no such file"):
        load_language_model(tmp_path / "none.gguf")
    with pytest.raises(ValidationError, match=r"no \*\.safetensors"):
        load_language_model(tmp_path)


def test_the_hash_of_a_folder_follows_its_weights(tiny_folder: Path, tmp_path: Path) -> None:
    """Tests that one changed byte of the weights or of the configuration is another model."""
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = weights_sha256(tmp_path)
    assert before == weights_sha256(tiny_folder)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("10000.0", "10001.0"))
    assert weights_sha256(tmp_path) != before
