"""Text of users in Markdown, comments, workflow commands and spreadsheets, against a CommonMark renderer."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from planner.report.escape import code, command_data, command_property, escape, fenced, inert, marker, one_line

HOSTILE = [
    "<script>alert(1)</script>",
    "a | b",
    "`code` ``more``",
    "two\nlines\r\nand `more",
    "@octocat and @org/team",
    "<!-- hidden --> --> --!>",
    "\u202ereversed\u2066",
    "**bold** _under_ ~~gone~~",
    "[link](javascript:alert(1)) ![img](http://x/y.png)",
    "https://example.com/a_b www.example.com a@b.example",
    "#123 GH-7 owner/repo#4",
    "&lt;b&gt; &#64;x &nbsp;",
    "$x^2$ and $`y`$",
    "\\| \\` back\\slash",
    "::error::x",
    "# heading",
    "</details></td></tr></table>",
    "",
    " ",
    ":smile:",
]
ANY = st.text(max_size=60) | st.lists(st.sampled_from(HOSTILE), max_size=3).map(" ".join)


class _Reader(HTMLParser):
    """Text and tags of a page, and which text stands in code."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text: list[str] = []
        self.plain: list[str] = []
        self.comments: list[str] = []
        self._code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._code += tag == "code"

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag == "code"

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if not self._code:
            self.plain.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def _read(markdown: str) -> _Reader:
    """The page as GitHub's Markdown gives it: CommonMark with tables, strikethrough and raw HTML."""
    reader = _Reader()
    reader.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))
    reader.close()
    return reader


def _squeezed(text: str) -> str:
    return " ".join(text.replace("\xa0", " ").split())


@settings(deadline=None)
@given(ANY)
@pytest.mark.parametrize("write", [escape, code])
def test_text_reads_as_written_in_a_table(write, text: str) -> None:  # type: ignore[no-untyped-def]
    """In a table cell any text gives back its own characters, one cell, and no tag but code."""
    page = _read(f"| a | b |\n| --- | --- |\n| {write(text)} | end |\n")
    assert set(page.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert page.tags.count("td") == 2 and not page.comments
    cells = "".join(page.text).split("\n")
    assert _squeezed("".join(page.text)) == _squeezed(f"a b {one_line(text)} end") or one_line(text).strip() == "", (
        cells
    )


@settings(deadline=None)
@given(ANY)
def test_text_reads_as_written_in_a_heading_and_a_list(text: str) -> None:
    """In headings and list items, too: nothing starts a new block."""
    for before, tags in (("### kvplan: ", {"h3", "code"}), ("- note ", {"ul", "li", "code"})):
        page = _read(f"{before}{escape(text)}\n")
        assert set(page.tags) <= tags and not page.comments


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_github_links_stays_plain(text: str) -> None:
    """Mentions, references, addresses and emoji codes stand in code, where GitHub leaves them alone."""
    plain = "".join(_read(escape(text) + "\n").plain)
    assert not re.search(r"@\w|(?<!\w)#\d|https?:|www\.|GH-\d|:\w+:", plain)


def test_controls_are_shown_not_acted_on() -> None:
    """Direction overrides, escapes and other invisible characters appear as their escape."""
    for text in ("\u202e", "\u2066", "\x1b", "\u200b", "\r"):
        assert text not in escape(f"a{text}b") and text not in code(f"a{text}b") and text not in inert(text)
    assert one_line("a\u202eb") == "a\\u202eb"


@given(ANY)
def test_a_marker_is_one_comment_with_nothing_to_end_it(name: str) -> None:
    """Whatever the name, the first line is one whole HTML comment on one line."""
    line = marker(name)
    page = _read(line + "\nrest\n")
    assert "\n" not in line and line.isascii()
    assert len(page.comments) == 1 and "--" not in page.comments[0]
    assert "".join(page.text).strip().endswith("rest")


@given(st.text(max_size=40), st.text(max_size=40))
def test_markers_of_two_names_differ(one: str, other: str) -> None:
    """Two scenarios never share a comment."""
    assert (marker(one) == marker(other)) == (one == other)


@given(ANY)
def test_a_workflow_command_stays_on_its_line(text: str) -> None:
    """Messages and properties hold no line break, and give the printable text back when the runner unescapes them."""
    data, prop = command_data(text), command_property(text)
    assert not re.search(r"[\r\n]", data) and not re.search(r"[\r\n:,]", prop)
    assert prop.replace("%3A", ":").replace("%2C", ",") == data
    shown = data.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
    assert one_line(shown, 10_000) == one_line(text.replace("\r\n", "\n"), 10_000)


@given(st.lists(ANY, max_size=4))
def test_no_line_closes_its_fence(texts: list[str]) -> None:
    """A diff block is one code block, whatever its lines hold."""
    lines = [one_line(f" {text}") for text in texts]
    first, last = fenced(lines, "diff")
    page = _read("\n".join([first, *lines, last, "", "rest"]) + "\n")
    assert page.tags == ["pre", "code", "p"]


@given(ANY)
def test_no_cell_is_a_formula(text: str) -> None:
    """Cells start with nothing that a spreadsheet runs, and survive a CSV round trip on one line."""
    shown = inert(text)
    assert shown.lstrip()[:1] not in tuple("=+-@") or not shown.strip()
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow([shown, "end"])
    assert stream.getvalue().count("\n") == 1
    assert next(csv.reader(io.StringIO(stream.getvalue()))) == [shown, "end"]
