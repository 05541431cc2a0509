"""Tests of refused words and of suggestions, one key at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.errors import InputError
from planner.scenario.resolve import load_scenario
from planner.scenario.validate import LATER_WORDS

SMALL = Path(__file__).parents[1] / "data" / "scenarios" / "small.yaml"

PLACES = {
    "adjust": "models.assistant",
    "kv_offload": "models.assistant",
    "roles": "models.assistant",
    "adapters": "models.assistant",
    "working_set": "traffic.chat.prefix",
    "routing": "traffic.chat.prefix",
    "zones": "inventory.l40s",
    "availability": "inventory.l40s",
    "reclaim": "inventory.l40s",
    "mig": "inventory.l40s",
    "current": "",
    "change": "",
    "robust": "",
}
"""Where a word for later would stand; all others in a traffic class."""


@pytest.mark.parametrize("word", LATER_WORDS)
def test_words_for_later_are_refused_by_name(word: str, tmp_path: Path) -> None:
    """Tests that each word gives exactly one diagnostic, which names it and says what to do."""
    parent = PLACES.get(word, "traffic.chat")
    lines = SMALL.read_text().splitlines()
    if parent.endswith("prefix"):
        lines.insert(12, f"    prefix: {{{word}: 1}}")
    elif "." in parent:
        name = parent.split(".")[1]
        lines.insert(lines.index(f"  {name}:") + 1, f"    {word}: 1")
    else:
        lines.append(f"{parent}: {{{word}: 1}}" if parent else f"{word}: 1")
    path = tmp_path / "later.yaml"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    (found,) = caught.value.diagnostics
    assert found.code == "KV501"
    assert f"'{word}' is not supported yet; {LATER_WORDS[word]}" in found.message
    assert word in lines[found.line - 1]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("modles", "models"), ("trafic", "traffic"), ("inventroy", "inventory"), ("budgets", "budget")],
)
def test_unknown_keys_are_answered_with_the_nearest_key(wrong: str, right: str, tmp_path: Path) -> None:
    """Tests did-you-mean at the top level, at the key's own place."""
    path = tmp_path / "typo.yaml"
    path.write_text(SMALL.read_text() + f"{wrong}: {{}}\n")
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    (found,) = caught.value.diagnostics
    assert (found.code, found.line, found.col) == ("KV302", 27, 1)
    assert found.message == f"unknown key '{wrong}'; did you mean '{right}'?"


def test_an_engine_setting_beside_the_model_s_keys_is_sent_to_its_block(tmp_path: Path) -> None:
    """Tests a key that exists one level below."""
    path = tmp_path / "misplaced.yaml"
    path.write_text(
        SMALL.read_text().replace("    weights: bf16", "    weights: bf16\n    max_num_batched_tokens: 4096")
    )
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    (found,) = caught.value.diagnostics
    assert found.message.endswith("unknown key 'max_num_batched_tokens'; write it under engine_args")


def test_every_mistake_is_found_in_one_pass(tmp_path: Path) -> None:
    """Tests one mistake in each block at once: units, references and relations do not hide each other."""
    text = SMALL.read_text()
    for right, wrong in [
        ("weights: bf16", "weights: awq"),
        ("parallel: tp1", "parallel: tp2-ep-dp2"),
        ("peak: 4 req/s", "peak: 4"),
        ("p95: 600", "p95: 60"),
        ("ttft_p95: 1s", "ttft_p95: 1"),
        ("gpu: l40s-48gb", "gpu: l40s"),
        ("price: $0.92/gpu/h", "price: 0.92"),
    ]:
        assert right in text
        text = text.replace(right, wrong)
    path = tmp_path / "many.yaml"
    path.write_text(text + "limits: {q: {max: 1, per_node: {nope: 1}, source: s}}\nwhat_if: {w: {a.b: 1}}\n")
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    codes = [item.code for item in caught.value.diagnostics]
    assert codes == ["KV502", "KV212", "KV204", "KV403", "KV202", "KV418", "KV203", "KV402", "KV414"]
