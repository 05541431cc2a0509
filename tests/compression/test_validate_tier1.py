"""Tier 1: the harness on the real validation model still finds what the committed evidence says (minutes)."""

from __future__ import annotations

import pytest

from planner.compression.evidence import CONTROL_LIMIT_PCT
from planner.compression.language_model import HOW_TO_GET_THE_MODEL, find_standard_model
from planner.compression.standing import committed_evidence
from planner.compression.texts import load_text

pytestmark = pytest.mark.tier1

SLACK_PCT = 0.05
"""Other processors round sums differently; as much as the 16-bit control may show."""


def test_tier_1_reproduces_the_committed_evidence() -> None:
    """Tests every preset of tier 1: today's mean within the committed 95 % interval, bytes to the byte."""
    pytest.importorskip("torch", reason="torch is not installed: pip install 'kvplan[validate]'")
    pytest.importorskip("transformers", reason="transformers is not installed: pip install 'kvplan[validate]'")
    if find_standard_model() is None:
        pytest.skip(HOW_TO_GET_THE_MODEL)
    (committed,) = (each.evidence for each in committed_evidence() if each.evidence.tier == 1)
    text = load_text("topics")
    if text.sha256 != committed.key.texts["topics"]:
        pytest.skip(f"the committed evidence is of another CPython's text; this one is {text.pin or 'not pinned'}")

    from planner.compression.language_model import load_language_model
    from planner.compression.validate import validate

    fresh = validate([], load_language_model(), [text], 1)
    assert all(abs(quality.ppl.mean_pct) < CONTROL_LIMIT_PCT for quality in fresh.control)
    assert {row.id for row in fresh.rows} == {row.id for row in committed.rows}
    for row in fresh.rows:
        old = committed.row(row.id)
        assert old is not None
        assert (row.revision, row.packed_bytes, row.resident_bytes) == (
            old.revision,
            old.packed_bytes,
            old.resident_bytes,
        )
        for quality in row.quality:
            before = old.of(quality.protocol)
            assert before is not None
            low, high = before.ppl.ci95_low_pct - SLACK_PCT, before.ppl.ci95_high_pct + SLACK_PCT
            assert low <= quality.ppl.mean_pct <= high, f"{row.id} {quality.protocol}"
        if row.recall is not None:
            assert old.recall is not None
            assert row.recall.questions == old.recall.questions
