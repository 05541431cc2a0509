"""The lines of a trace file, gzip or plain, whatever stands in it: bounded in size, decoded, never in memory as a
whole."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_FILE_BYTES = 4 * 1024**3
MOST_TEXT_CHARS = 8 * 1024**3
BLOCK_CHARS = 4 * 1024**2
MOST_LINE_CHARS = 256 * 1024**2
"""A line of a request log holds one request; only a whole benchmark in one JSON document is longer than kilobytes."""

BLANK_LINES = 100_000
"""So many blank lines, and nine in ten of all, are no log but the padding of a file that unpacks to anything."""

GZIP_MAGIC = b"\x1f\x8b"
OTHER_PACKINGS = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\xfd7zXZ": "an xz file",
    b"BZh": "a bzip2 file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PAR1": "a Parquet file",
}
"""What a file starts with that is no text, and what it then is."""


class UnreadableError(ValueError):
    """A file of which no trace can be read; the text says why and what to do."""


@dataclass
class Lines:
    """The lines of one file in blocks of some megabytes, without their ends, and how much was read."""

    stream: io.TextIOWrapper
    chars: int = 0
    lines: int = 0
    blank: int = 0

    def blocks(self) -> Iterator[list[str]]:
        """All lines, in lists that are never empty.

        Raises:
            UnreadableError: the file is damaged, or larger than any log.
        """
        rest: list[str] = []
        while text := self._read():
            head, newline, tail = text.rpartition("\n")
            if newline:
                yield self._counted(("".join(rest) + head).split("\n"))
                rest = []
            rest.append(tail)
            if sum(map(len, rest)) > MOST_LINE_CHARS:
                raise UnreadableError(f"a line has more than {MOST_LINE_CHARS:,} characters; no request log has")
        last = "".join(rest)
        if last:
            yield [last]

    def _counted(self, block: list[str]) -> list[str]:
        self.lines += len(block)
        self.blank += block.count("")
        if self.blank > max(BLANK_LINES, 0.9 * self.lines):
            raise UnreadableError(
                f"{self.blank:,} of its first {self.lines:,} lines are blank; no request log is like that"
            )
        return block

    def _read(self) -> str:
        try:
            text = self.stream.read(BLOCK_CHARS)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableError("its gzip data are damaged or cut off; copy the file anew") from error
        except OSError as error:
            raise UnreadableError((error.strerror or str(error)).lower()) from error
        self.chars += len(text)
        if self.chars > MOST_TEXT_CHARS:
            raise UnreadableError(f"it unpacks to more than {MOST_TEXT_CHARS:,} characters; cut it into parts")
        return text


def open_lines(path: Path) -> Lines:
    """The lines of a regular file. Bytes that are no UTF-8 become U+FFFD, which no number or name contains.

    Raises:
        UnreadableError: there is no such file, it is too large, or packed in a way that is not read.
    """
    try:
        if not path.exists():
            raise UnreadableError("there is no such file")
        if not path.is_file():
            raise UnreadableError("it is not a regular file")
        if path.stat().st_size > MOST_FILE_BYTES:
            raise UnreadableError(f"it is larger than {MOST_FILE_BYTES:,} bytes; cut it into parts")
        with path.open("rb") as raw:
            start = raw.read(8)
    except OSError as error:
        raise UnreadableError((error.strerror or str(error)).lower()) from error
    except ValueError as error:
        raise error if isinstance(error, UnreadableError) else UnreadableError("its name is not a file name") from error
    for magic, kind in OTHER_PACKINGS.items():
        if start.startswith(magic):
            raise UnreadableError(f"it is {kind}; unpack or save it as UTF-8 text, or pack it with gzip")
    unpacked = gzip.open(path) if start.startswith(GZIP_MAGIC) else path.open("rb")  # noqa: SIM115 (closed with Lines)
    return Lines(io.TextIOWrapper(unpacked, encoding="utf-8-sig", errors="replace"))


def sha256(path: Path) -> str:
    """The hash of the file as it is stored, packed or not."""
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()
