"""The names of the preset table without the table: `validate` needs no more, and reading all of it takes longer."""

from __future__ import annotations

import re
from pathlib import Path

PRESETS_FILE = Path(__file__).with_name("presets.yaml")

_ROW = re.compile(r'^- id: (\S+)\n  version: "?([^"\s]+)"?$', re.M)


def preset_name(preset_id: str, version: str) -> str:
    """`id@version`; an id that carries its version, to be unique, drops it there.

    >>> preset_name("nexusquant-0.6.3-high", "0.6.3"), preset_name("fp8", "vllm-0.19")
    ('nexusquant-high@0.6.3', 'fp8@vllm-0.19')
    """
    return f"{preset_id.replace(f'-{version}', '')}@{version}"


def preset_rows() -> tuple[tuple[str, str], ...]:
    """(id, version) of every row, in the order of the file; a test holds it against the table itself.

    >>> ("bf16", "fp8") == tuple(row[0] for row in preset_rows()[:2])
    True
    """
    return tuple(_ROW.findall(PRESETS_FILE.read_text(encoding="utf-8")))
