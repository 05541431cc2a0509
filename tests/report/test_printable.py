"""Nothing that a terminal acts on gets out."""

from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from planner.report.printable import printable


@given(st.text(st.characters()))
def test_only_line_feeds_act(text: str) -> None:
    """Whatever comes in, no control, format or surrogate character but the line feed comes out."""
    kinds = {unicodedata.category(char) for char in printable(text) if char != "\n"}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_text_stays_as_it_is(text: str) -> None:
    """Letters of any script, signs and blanks are left alone, and so is what was made printable once."""
    assert printable(text) == text
    assert printable(printable(text + "\x1b")) == printable(text + "\x1b")


@given(st.recursive(st.text(st.characters()), lambda inner: st.dictionaries(st.text(st.characters()), inner)))
def test_json_means_the_same(value: object) -> None:
    """Inside a JSON document the escapes are JSON's own: reading gives back every character."""
    document = json.dumps(value, ensure_ascii=False, indent=2)
    assert json.loads(printable(document)) == json.loads(document)


def test_what_attackers_send() -> None:
    """A title change, a cleared screen, an 8-bit control sequence, a right-to-left override, a tag beyond 16 bits."""
    assert printable("\x1b]0;x\x07") == "\\u001b]0;x\\u0007"
    assert printable("\x9b2J\r") == "\\u009b2J\\u000d"
    assert printable("a\u202eb\u2066") == "a\\u202eb\\u2066"
    assert printable("\U000e0041") == "\\udb40\\udc41"
