"""Texts to measure perplexity on: pinned by sha256, never part of the package.

Two texts, because the choice of text alone moves a perplexity difference by a factor of 3 to 4:

- topics: CPython's own language reference (`pydoc_data.topics`, PSF license), technical prose. It changes
  with every CPython release, so there is a pin for each release that evidence was made on.
- anarchism: sections A.1 to A.5 and B.1 of "An Anarchist FAQ" as Debian's `anarchism` package ships them in
  markdown (GPL-2+), essayistic prose. It is read from the installed package or from the .deb file.

Any UTF-8 file is taken by path; its hash goes into the evidence like those of the others.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from planner.compression.language_model import ValidationError, default_cache_folder

TEXT_NAMES = ("topics", "anarchism")

PINS = {
    "topics": {
        "CPython 3.11.7": "3a8fbd4f1188ffd3f542f8254dd9527d0775025145d35b71f2f41e68818a32e0",
        "CPython 3.12.1": "dec4790651d10dd92f772cbd965016165d1426449a21bb1e26cf9dee81f0d025",
        "CPython 3.13.0": "d0efb40358f9f930a63944205560f48732093b7b3758972a877038c53b885a94",
    },
    "anarchism": {"Debian 15.3-3": "6c6d634cd5f5f949e8ec034e7eadff87d7ccfb3f4d4bd638a85ecf8289232f3f"},
}
"""Text -> release -> sha256 of the exact string."""

ANARCHISM_SECTIONS = ("secA1", "secA2", "secA3", "secA4", "secA5", "secB1")
ANARCHISM_FOLDER = "usr/share/doc/anarchism/markdown"
HOW_TO_GET_ANARCHISM = (
    "the text `anarchism` is missing: run `apt-get download anarchism` in {folder} "
    "(Debian's package, 7 MB; it need not be installed), or name other texts with --text"
)


@dataclass(frozen=True)
class Text:
    """A text and its hash. `pin` names the release whose pinned hash it has, "" for none."""

    name: str
    content: str
    sha256: str
    pin: str


def load_text(name_or_path: str, cache_folder: Path | None = None) -> Text:
    """One text: a name of `TEXT_NAMES` or the path of a UTF-8 file.

    Raises:
        ValidationError: It is not there; the message says how to get it.
    """
    folder = cache_folder or default_cache_folder()
    readers: dict[str, Callable[[], str]] = {"topics": _topics, "anarchism": lambda: _anarchism(folder)}
    reader = readers.get(name_or_path)
    if reader is None:
        return _pinned(Path(name_or_path).stem, _file(Path(name_or_path)))
    return _pinned(name_or_path, reader())


def _pinned(name: str, content: str) -> Text:
    digest = hashlib.sha256(content.encode()).hexdigest()
    releases = [release for release, pin in PINS.get(name, {}).items() if pin == digest]
    return Text(name, content, digest, releases[0] if releases else "")


def _file(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValidationError(f"{path}: not a readable UTF-8 text ({error}); or name one of {TEXT_NAMES}") from None


def _topics() -> str:
    from pydoc_data import topics

    pages = topics.topics
    # The rules under headings are runs of one character: they say nothing and are trivially predicted.
    return "\n\n".join(re.sub(r"(?m)^([*=~^-])\1{2,}\n", "", pages[name]).strip() for name in sorted(pages))


def _anarchism(folder: Path) -> str:
    installed = Path("/") / ANARCHISM_FOLDER
    if installed.is_dir():
        return "\n\n".join(_section(next(installed.glob(f"{name}.md*"))) for name in ANARCHISM_SECTIONS)
    packages = sorted(folder.glob("anarchism_*.deb"))
    if not packages:
        raise ValidationError(HOW_TO_GET_ANARCHISM.format(folder=folder))
    sections = _deb_sections(packages[-1])
    return "\n\n".join(sections[name] for name in ANARCHISM_SECTIONS)


def _section(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8").strip()


def _deb_sections(package: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, data in _archive_members(package.read_bytes()):
        if not name.startswith("data.tar"):
            continue
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                inside = Path(member.name)
                section = inside.name.split(".")[0]
                file = archive.extractfile(member) if section in ANARCHISM_SECTIONS else None
                if file is None or inside.parent.as_posix().removeprefix("./") != ANARCHISM_FOLDER:
                    continue
                content = file.read()
                found[section] = (gzip.decompress(content) if inside.suffix == ".gz" else content).decode().strip()
    missing = [name for name in ANARCHISM_SECTIONS if name not in found]
    if missing:
        raise ValidationError(f"{package}: sections {missing} are not in this package")
    return found


def _archive_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Members of an `ar` archive, which is what a .deb file is. Source: deb(5), ar(5)."""
    if not data.startswith(b"!<arch>\n"):
        raise ValidationError("this is not a Debian package")
    place = 8
    while place + 60 <= len(data):
        name = data[place : place + 16].decode("ascii").strip().rstrip("/")
        size = int(data[place + 48 : place + 58])
        yield name, data[place + 60 : place + 60 + size]
        place += 60 + size + size % 2
