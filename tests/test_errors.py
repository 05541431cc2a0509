"""Tests of diagnostics: nothing is lost, everything is in order."""

from __future__ import annotations

from planner.errors import Diagnostic, InputError


def test_a_diagnostic_reads_like_a_compiler_message() -> None:
    """Tests the form file:line:col: error: message [code]."""
    diagnostic = Diagnostic("prod.yaml", 14, 11, "KV204", "no unit")
    assert str(diagnostic) == "prod.yaml:14:11: error: no unit [KV204]"


def test_parts_of_the_place_that_are_zero_are_left_out() -> None:
    """Tests places that are a flag or a whole file."""
    assert str(Diagnostic("--set", 0, 0, "KV415", "no path")) == "--set: error: no path [KV415]"


def test_two_mistakes_at_one_place_are_both_kept() -> None:
    """Tests that diagnostics which differ only in their message do not replace each other."""
    first = Diagnostic("a.yaml", 1, 1, "KV301", "'models' is missing")
    second = Diagnostic("a.yaml", 1, 1, "KV301", "'traffic' is missing")
    assert InputError([second, first, first]).diagnostics == (first, second)


def test_diagnostics_are_sorted_by_line_as_numbers() -> None:
    """Tests that line 10 comes after line 9."""
    lines = [Diagnostic("a.yaml", line, 1, "KV301", "x") for line in (10, 9, 100)]
    assert [item.line for item in InputError(lines).diagnostics] == [9, 10, 100]
    assert str(InputError(lines)).count("\n") == 2
