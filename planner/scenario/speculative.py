"""Relations inside `speculative`: figures that fit each other, and a draft that fits the model."""

from __future__ import annotations

from planner import units
from planner.catalog.types import ModelFacts
from planner.scenario.source import Findings, MapNode, TextNode, child, child_map, child_text


def check_speculative(path: str, model: MapNode, facts: ModelFacts | None, findings: Findings) -> None:
    """Reports what of a model's speculative decoding does not fit; the schema reports what cannot be read."""
    block = child(model, "speculative")
    if not isinstance(block, MapNode):
        return
    entries, draft = child_map(block), child_text(block, "draft")
    drafted, accepted = child_text(block, "draft_tokens"), child_text(block, "accepted_tokens")
    if drafted is not None and accepted is not None:
        _check_accepted(path, drafted, accepted, findings)
    if draft is None:
        return
    if draft.text == "mtp" and facts is not None and not facts.draft_layers:
        message = f"{path}: {facts.id} has no layers of multi-token prediction; write draft: eagle or ngram"
        findings.add(draft.place, "KV422", message)
    if draft.text == "eagle" and "memory" not in entries:
        message = f"{path}: the weights of an EAGLE head take memory; write 'memory: 1.5GiB/gpu' as the engine loads it"
        findings.add(model.entries["speculative"].key_place, "KV422", message)
    if draft.text in ("mtp", "ngram") and "memory" in entries:
        known = "is counted from the model" if draft.text == "mtp" else "needs none"
        findings.add(entries["memory"].key_place, "KV422", f"{path}: the memory of {draft.text} {known}; drop 'memory'")


def _check_accepted(path: str, drafted: TextNode, accepted: TextNode, findings: Findings) -> None:
    try:
        most = units.parse_integer(drafted.text) + 1
        tokens = units.parse_decimal(accepted.text)
    except ValueError:
        return
    if not 1 < tokens <= most:
        read = f"accepted_tokens {accepted.text} of {most:,} that a step checks"
        message = f"{path}: {read}; write the mean of the measurement, above 1 and at most {most:,}"
        findings.add(accepted.place, "KV422", message)
