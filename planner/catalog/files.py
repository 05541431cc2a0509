"""Reading the data files that ship with kvplan, and users' JSON files without raising on bad content."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TypeAlias

import yaml

from planner.units import shorten

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_SHOWN_KEY = 80

MAX_CONFIG_BYTES = 4_000_000
"""Largest `config.json` that is read. Published ones hold a few kilobytes; more is some other file."""

CATALOG_DATE = "2026-11-22"
"""The day on which the facts of the catalog were collected."""

_HERE = Path(__file__).parent


class _RepeatedKeyError(ValueError):
    """A JSON object names the same key twice, so that one of the values would be lost."""


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _RepeatedKeyError(key)
        seen.add(key)
    return found


class _NotANumberError(ValueError):
    """NaN or an infinity, which JSON does not have and Python would read."""


def _no_constant(text: str) -> Json:
    raise _NotANumberError(text)


def read_text_file(path: str, most_bytes: int) -> tuple[str, str]:
    """A user's text file, and why it cannot be read (one of the two is empty); UTF-8, with or without a mark."""
    try:
        file = Path(path)
        if not file.exists():
            return "", "there is no such file"
        if not file.is_file():
            return "", "it is not a regular file"
        if file.stat().st_size > most_bytes:
            return "", f"it is larger than {most_bytes // 2**20} MiB"
        return file.read_bytes().decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return "", "it is not UTF-8 text"
    except OSError as error:
        return "", (error.strerror or "it cannot be opened").lower()
    except ValueError:
        return "", "it is no file name"


def read_json_object(path: Path) -> dict[str, Json] | str:
    """Read one JSON object; anything else is returned as a sentence that says what is wrong with the file."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            return f"is larger than {MAX_CONFIG_BYTES:,} bytes, so it is no config.json"
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"cannot be read: {reason}"
    return parse_json_object(data)


def parse_json_object(data: bytes) -> dict[str, Json] | str:
    """One JSON object, or what is wrong with it, to stand after the name of its file."""
    try:
        tree: Json = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except _RepeatedKeyError as error:
        return f"repeats the key '{shorten(str(error), MAX_SHOWN_KEY)}'"
    except _NotANumberError as error:
        return f"is not JSON: {error} is not a number of JSON"
    except RecursionError:
        return "is nested too deeply"
    except ValueError:
        return "is not JSON: it holds a number with too many digits"
    return tree if isinstance(tree, dict) else "holds no JSON object at its top"


@cache
def data_rows(name: str) -> dict[str, dict[str, Json]]:
    """The rows of one of kvplan's own YAML files (`gpus.yaml`, `engines.yaml`), by id."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree: dict[str, dict[str, dict[str, Json]]] = yaml.load((_HERE / name).read_bytes(), Loader=loader)  # noqa: S506
    return tree["rows"]


@cache
def model_paths() -> dict[str, Path]:
    """The model files of the catalog, by id."""
    return {path.stem: path for path in sorted((_HERE / "models").glob("*.json"))}


@cache
def catalog_version() -> str:
    """Date and SHA-256 of every data file of the catalog, names included: `2026-11-22/5f0c...`."""
    digest = hashlib.sha256()
    for path in (_HERE / "engines.yaml", _HERE / "gpus.yaml", *model_paths().values()):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.name}\n{len(content)}\n".encode())
        digest.update(content)
    return f"{CATALOG_DATE}/{digest.hexdigest()}"
