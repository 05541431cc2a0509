"""Names for clusters, labels and comments, from any text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.export.names import comment, dns_label, file_name, is_label_key, label_value


@given(st.text(max_size=120))
def test_any_text_gives_a_dns_label(text: str) -> None:
    """RFC 1035: a letter first, then letters, digits and hyphens, no hyphen last, within the length."""
    name = dns_label(text)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)
    assert len(name) <= 50


@given(st.text(max_size=120))
def test_any_text_gives_a_label_value_and_a_file_name(text: str) -> None:
    """Kubernetes' own pattern for label values; as a file name it is in no other folder."""
    for value in (label_value(text), file_name(text)):
        assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value)


@given(st.text(max_size=80), st.text(max_size=80))
def test_two_texts_never_share_a_name(one: str, other: str) -> None:
    """What has to change carries a hash of the whole text."""
    if one != other:
        assert dns_label(one) != dns_label(other)
        assert label_value(one) != label_value(other)


def test_near_misses_keep_apart() -> None:
    """Texts that differ only in what a label cannot hold get different names."""
    assert len({dns_label(text) for text in ("a-b", "a.b", "a_b", "A-b", "a--b", "a-b-")}) == 6


@given(st.text(max_size=200))
def test_a_comment_is_one_line(text: str) -> None:
    """No line separator of any kind leaves a comment."""
    assert len(f"#{comment(text)}".splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "good"),
    [
        ("pool", True),
        ("kvplan/pool", True),
        ("node.kubernetes.io/instance-type", True),
        ("", False),
        ("a/b/c", False),
        ("UPPER.case/x", False),  # prefixes are DNS names
        ("kvplan/", False),
        ("kvplan/po ol", False),
        ("a" * 64, False),
    ],
)
def test_label_keys(key: str, good: bool) -> None:
    """Keys are told apart as Kubernetes does."""
    assert is_label_key(key) is good
