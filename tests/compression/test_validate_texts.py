"""Tests of the pinned texts."""

from __future__ import annotations

import gzip
import hashlib
import io
import platform
import tarfile
from pathlib import Path

import pytest

from planner.compression.language_model import ValidationError
from planner.compression.texts import ANARCHISM_FOLDER, ANARCHISM_SECTIONS, PINS, load_text


def debian_package(sections: tuple[str, ...]) -> bytes:
    """A .deb as deb(5) describes it: an ar archive whose data.tar.xz holds gzipped pages; odd sizes are padded."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:xz") as archive:
        for name in sections:
            page = gzip.compress(f"# {name}\n\n".encode())
            member = tarfile.TarInfo(f"./{ANARCHISM_FOLDER}/{name}.md.gz")
            member.size = len(page)
            archive.addfile(member, io.BytesIO(page))
    package = b"!<arch>\n"
    for name, data in (("debian-binary", b"2.0\n\n"), ("data.tar.xz", tar.getvalue())):
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n"
        package += header.encode() + data + b"\n" * (len(data) % 2)
    return package


@pytest.mark.skipif(Path("/", ANARCHISM_FOLDER).is_dir(), reason="the package itself is installed")
def test_sections_come_out_of_a_debian_package(tmp_path: Path) -> None:
    """Tests that the sections are read from the .deb in the cache folder, in their order."""
    (tmp_path / "anarchism_15.3-3_all.deb").write_bytes(debian_package((*reversed(ANARCHISM_SECTIONS), "secJ7")))
    text = load_text("anarchism", tmp_path)
    assert text.content == "\n\n".join(f"# {name}" for name in ANARCHISM_SECTIONS)
    assert text.pin == ""


@pytest.mark.skipif(Path("/", ANARCHISM_FOLDER).is_dir(), reason="the package itself is installed")
def test_a_missing_package_says_how_to_get_it(tmp_path: Path) -> None:
    """Tests the messages for no package and for a package without the sections."""
    with pytest.raises(ValidationError, match=f"apt-get download anarchism` in {tmp_path}"):
        load_text("anarchism", tmp_path)
    (tmp_path / "anarchism_1.deb").write_bytes(debian_package(ANARCHISM_SECTIONS[:2]))
    with pytest.raises(ValidationError, match="secA3"):
        load_text("anarchism", tmp_path)


def test_the_technical_text_is_pinned_where_evidence_was_made() -> None:
    """Tests that CPython's topics have the pinned hash on a pinned release, and none elsewhere."""
    text = load_text("topics")
    release = f"CPython {platform.python_version()}"
    assert text.pin == (release if release in PINS["topics"] else text.pin)
    assert text.sha256 == hashlib.sha256(text.content.encode()).hexdigest()
    assert "***" not in text.content.split("\n")


def test_any_file_can_be_a_text(tmp_path: Path) -> None:
    """Tests a file by path, one that is not there, and one that is not text."""
    (tmp_path / "mine.txt").write_text("Größe", encoding="utf-8")
    assert load_text(str(tmp_path / "mine.txt")).name == "mine"
    with pytest.raises(ValidationError, match="not a readable UTF-8 text"):
        load_text(str(tmp_path / "none.txt"))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValidationError, match="or name one of"):
        load_text(str(tmp_path / "bytes.txt"))
