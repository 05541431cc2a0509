"""Models that the local Hugging Face cache already holds. Nothing is ever fetched.

The cache keeps `models--{org}--{name}/refs/{revision}`, a file with a commit, and `snapshots/{commit}/`, whose
entries are usually links to `blobs/`.
Source: huggingface_hub, guide "Understand caching" and `constants.py` (order of the environment variables).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,4}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_LISTED = 10_000


def hub_id(ref: str) -> tuple[str, str] | None:
    """(id, revision) of `org/name` or `org/name@revision`; an empty revision means none was named.

    >>> hub_id("Qwen/Qwen3-8B@main")
    ('Qwen/Qwen3-8B', 'main')
    >>> hub_id("./configs/config.json") is None
    True
    """
    name, at, revision = ref.partition("@")
    if not _ID.fullmatch(name) or ".." in ref or "--" in name:
        return None
    if at and not (len(revision) <= 200 and _REVISION.fullmatch(revision)):
        return None
    return name, revision


def cache_folder() -> Path:
    """Where huggingface_hub keeps models on this machine, as its environment variables say."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return _expanded(os.environ[variable])
    if os.environ.get("HF_HOME"):
        return _expanded(os.environ["HF_HOME"]) / "hub"
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~") / ".cache")
    return _expanded(home) / "huggingface" / "hub"


def _expanded(text: str) -> Path:
    path = Path(os.path.expandvars(text))
    try:
        return path.expanduser()
    except RuntimeError:  # no home folder is known
        return path


def download_advice(name: str, revision: str) -> str:
    """How to get the config of a model into the cache."""
    flag = f" --revision {revision}" if revision else ""
    return f"`hf download {name} config.json{flag}` puts it there"


def find_snapshot(name: str, revision: str) -> Path | str:
    """The folder of a cached model, or a sentence that says what was looked for and how to get it.

    Without a revision `main` counts, else the only snapshot there is.
    """
    root = cache_folder()
    at = f"{name}@{revision}" if revision else name
    advice = download_advice(name, revision)
    try:
        folder = _model_folder(root, name)
        if folder is None:
            return f"'{at}' is no path and not in the local Hugging Face cache ({root}); {advice}"
        commit = _commit(folder, revision)
        if commit is None:
            what = f"revision '{revision}'" if revision else "a single snapshot or 'main'"
            return f"the local Hugging Face cache ({root}) holds '{name}' without {what}; {advice}"
        snapshot = folder / "snapshots" / commit
        if not snapshot.is_dir():
            return (
                f"the local Hugging Face cache ({root}) names commit {commit} of '{at}' but does not hold it; {advice}"
            )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"the local Hugging Face cache ({root}) cannot be read: {reason}"
    return snapshot


def _model_folder(root: Path, name: str) -> Path | None:
    """The model's folder; ids are compared without regard to case where the exact one is not there."""
    wanted = "models--" + name.replace("/", "--")
    if (root / wanted).is_dir():
        return root / wanted
    if not root.is_dir():
        return None
    alike = [path for path in root.glob("models--*") if path.name.lower() == wanted.lower() and path.is_dir()]
    return alike[0] if len(alike) == 1 else None


def _commit(folder: Path, revision: str) -> str | None:
    """The commit that a revision stands for. What a ref file holds is believed only if it is a commit."""
    if _COMMIT.fullmatch(revision):
        return revision
    ref = folder / "refs" / (revision or "main")
    if ref.is_file() and ref.stat().st_size <= 200:
        commit = ref.read_text(encoding="ascii").strip()
        if _COMMIT.fullmatch(commit):
            return commit
    snapshots = folder / "snapshots"
    if revision or not snapshots.is_dir():
        return None
    held = [path.name for path, _ in zip(snapshots.iterdir(), range(_MAX_LISTED), strict=False)]
    return held[0] if len(held) == 1 and _COMMIT.fullmatch(held[0]) else None
