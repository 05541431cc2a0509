"""Names for machines: what a cluster, a label and a comment can hold, whatever a plan file says."""

from __future__ import annotations

import hashlib
import re

from planner.report.printable import printable

LONGEST_NAME = 50
"""A DNS label has 63 characters; a StatefulSet's pods add an ordinal and a revision hash of 10 to its name."""

LONGEST_LABEL = 63
"""Characters of a label value."""

_HASH = 8


def dns_label(text: str, longest: int = LONGEST_NAME) -> str:
    """A DNS label of RFC 1035 (letter first, then letters, digits, hyphens), which is also one of RFC 1123.

    A text that has to change gets a hash of itself, so that two texts never share a name.

    >>> dns_label("prod-eu-assistant-1"), dns_label("$(reboot)"), dns_label("3x")
    ('prod-eu-assistant-1', 'reboot-796c4c55', 'x3x-35e93eb6')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"x{plain}"
    if plain == text and len(plain) <= longest:
        return plain
    return f"{plain[: longest - _HASH - 1].rstrip('-')}-{_digest(text)}"


def label_value(text: str) -> str:
    """A label value: up to 63 letters, digits, dots, hyphens and underscores, the first and last alphanumeric.

    >>> label_value("h100-reserved"), label_value("a/b")
    ('h100-reserved', 'a-b-c14cddc0')
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")
    if plain == text and 0 < len(plain) <= LONGEST_LABEL:
        return plain
    return f"{(plain or 'x')[: LONGEST_LABEL - _HASH - 1].rstrip('-._')}-{_digest(text)}"


def file_name(text: str) -> str:
    """A file name without folders in it; most names stay as they are.

    >>> file_name("assistant-1"), file_name("../../etc/passwd")
    ('assistant-1', 'etc-passwd-3754d6cb')
    """
    return label_value(text)


def comment(text: str) -> str:
    """One line for a comment: no line break leaves it.

    >>> comment("a\\nrm -rf /")
    'a rm -rf /'
    """
    return printable(" ".join(text.split()))


def is_label_key(text: str) -> bool:
    """Whether a text is a Kubernetes label key: an optional DNS subdomain, a slash, a name of up to 63 characters.

    >>> is_label_key("kvplan/pool"), is_label_key("node.kubernetes.io/instance-type"), is_label_key("a b")
    (True, True, False)
    """
    prefix, slash, name = text.rpartition("/")
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    if slash and (len(prefix) > 253 or not re.fullmatch(rf"{label}(\.{label})*", prefix)):
        return False
    return re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", name) is not None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
