"""A scenario or plan of another revision: `REF:path`, read through the `git` program.

Only objects are read (`git cat-file`), never a working tree: no hooks, filters, submodules or network take part. The
file and every file that it names (parents, `config.json`, capacity tables) are written below a temporary folder at
their own paths, so that relative paths mean what they mean in the repository.
"""

from __future__ import annotations

import os
import posixpath
import re
import subprocess  # git is called with a list of arguments, never through a shell
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner.errors import Diagnostic, InputError
from planner.scenario.source import Findings, ListNode, Node, TextNode, parse_text, walk
from planner.units import quote

SECONDS = 60
"""Time for one git command: local object reads take milliseconds."""

MOST_BYTES = 64 * 2**20
MOST_FILES = 200
"""Files of one scenario: itself, eight parents at most, tables and model configurations."""

_REF = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9_./@{}^~+=#-]{0,249}")
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "protocol.allow=never", "--no-pager")
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "LC_ALL": "C",
}


@dataclass(frozen=True)
class GitFile:
    """A file of a revision, written out: `path` on disk, below `root`; `shown` is how messages name the root."""

    path: Path
    root: Path
    shown: str

    def name(self, file: str) -> str:
        """How a file on disk is called in messages: `main:scenarios/prod.yaml` if it came from git."""
        try:
            return f"{self.shown}:{Path(file).relative_to(self.root).as_posix()}"
        except ValueError:
            return file


def is_git_side(text: str) -> bool:
    """Whether a side is `REF:path` rather than the name of a file that exists.

    >>> is_git_side("main:scenarios/prod.yaml"), is_git_side("scenarios/prod.yaml")
    (True, False)
    """
    ref, colon, path = text.partition(":")
    return bool(ref and colon and path) and not (len(ref) == 1 and path[:1] in "\\/") and not Path(text).exists()


def read_git(text: str, folder: Path) -> GitFile:
    """Writes the file of `REF:path`, and what it names, below a folder.

    Raises:
        InputError: git cannot be run, there is no such repository, revision or file, or a name that is none.
    """
    ref, _, name = text.partition(":")
    if not _REF.fullmatch(ref) or ".." in ref:
        raise _problem(text, "KV952", f"{quote(ref)} is not a revision; write a branch, tag or commit, like main")
    commit = _commit(text, ref)
    path = _inside(text, name, _prefix(text) if name.startswith(("./", "../")) else "")
    wanted, written = [path], set[str]()
    while wanted:
        contents = _blobs(text, commit, wanted)
        if path not in written and path not in contents:
            raise _problem(text, "KV953", f"there is no file {quote(path)} in {quote(ref)}; paths count from the root")
        following: list[str] = []
        for name in wanted:
            written.add(name)
            if name in contents:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(contents[name])
                following += _named_by(name, contents[name])
        wanted = [name for name in dict.fromkeys(following) if name not in written]
        if len(written) + len(wanted) > MOST_FILES:
            raise _problem(text, "KV954", f"the scenario names more than {MOST_FILES} files; name fewer")
    return GitFile(folder / path, folder, ref)


def _problem(text: str, code: str, message: str) -> InputError:
    return InputError([Diagnostic(text, 0, 0, code, message)])


def _commit(text: str, ref: str) -> str:
    """The commit of a revision."""
    done = _git(text, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    commit = done.stdout.decode("ascii", "replace").strip()
    if done.returncode == 0 and re.fullmatch("[0-9a-f]{40,64}", commit):
        return commit
    inside = _git(text, "rev-parse", "--is-shallow-repository")
    if inside.returncode != 0:
        said = inside.stderr.decode("utf-8", "replace").strip().splitlines() or ["git said nothing"]
        raise _problem(text, "KV951", f"git cannot read a repository here: {said[0][:200]}; run it inside one")
    hint = "fetch it, or write a branch, tag or commit that `git log` knows"
    if inside.stdout.strip() == b"true":
        hint = "this clone is shallow; fetch the history (`git fetch --unshallow`, or fetch-depth: 0 in a workflow)"
    raise _problem(text, "KV952", f"git knows no revision {quote(ref)}; {hint}")


def _prefix(text: str) -> str:
    """The folder in which we are, from the root of the repository."""
    return _git(text, "rev-parse", "--show-prefix").stdout.decode("utf-8", "replace").strip()


def _inside(text: str, name: str, folder: str) -> str:
    """A path from the root of the repository."""
    path = posixpath.normpath(posixpath.join(folder, name))
    if not _is_inside(path):
        raise _problem(text, "KV953", f"{quote(name)} is not a path inside the repository; write it from its root")
    return path


def _is_inside(path: str) -> bool:
    return not path.startswith(("/", "../")) and path not in ("..", ".") and path.isprintable()


def _named_by(name: str, content: bytes) -> list[str]:
    """Paths that a YAML file may name, from the root: every value, as it counts from this file's folder."""
    if not name.endswith((".yaml", ".yml")):
        return []
    tree = parse_text(content.decode("utf-8-sig", "replace"), name, Findings())
    folder = posixpath.dirname(name)
    found = []
    for text in dict.fromkeys(_values(tree) if tree else ()):
        if 0 < len(text) <= 500 and not text.startswith("/") and ("/" in text or "." in text):
            path = posixpath.normpath(posixpath.join(folder, text))
            found += [path, posixpath.join(path, "config.json")] if _is_inside(path) else []
    return found


def _values(tree: Node) -> Iterator[str]:
    for _, entry in walk(tree):
        nodes = entry.node.items if isinstance(entry.node, ListNode) else (entry.node,)
        yield from (node.text for node in nodes if isinstance(node, TextNode))


def _blobs(text: str, commit: str, paths: Sequence[str]) -> dict[str, bytes]:
    """The contents of those paths that are files in the commit; symbolic links are followed within it."""
    sizes = _batch(text, "--batch-check", commit, paths)
    files = []
    for path, line in zip(paths, sizes.decode("utf-8", "replace").splitlines(), strict=False):
        words = line.split(" ")
        if len(words) == 3 and words[1] == "blob":
            if int(words[2]) > MOST_BYTES:
                raise _problem(text, "KV954", f"{quote(path)} is larger than {MOST_BYTES:,} bytes")
            files.append(path)
    stream = _batch(text, "--batch", commit, files) if files else b""
    contents = {}
    for path in files:
        header, _, stream = stream.partition(b"\n")
        size = int(header.split(b" ")[2])
        contents[path], stream = stream[:size], stream[size + 1 :]
    return contents


def _batch(text: str, how: str, commit: str, paths: Sequence[str]) -> bytes:
    """The output of one `git cat-file`. Answers about links and what is missing take two lines with `--batch-check`;
    they are cut to their first."""
    asked = "".join(f"{commit}:{path}\n" for path in paths).encode()
    done = _git(text, "cat-file", "--follow-symlinks", how, stdin=asked)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[:200]
        raise _problem(text, "KV951", f"git cannot read the objects of {quote(text)}: {said}")
    return _one_line_each(done.stdout) if how == "--batch-check" else done.stdout


def _one_line_each(answer: bytes) -> bytes:
    """`symlink 9`, `dangling 9`, `loop 9` and `notdir 9` are followed by that many bytes and a line break."""
    lines = []
    while answer:
        line, _, answer = answer.partition(b"\n")
        lines.append(line)
        words = line.split(b" ")
        if len(words) == 2 and words[0] in (b"symlink", b"dangling", b"loop", b"notdir") and words[1].isdigit():
            answer = answer[int(words[1]) + 1 :]
    return b"\n".join(lines) + b"\n"


def _git(text: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["git", *_QUIET, *arguments]
    try:
        return subprocess.run(  # noqa: S603
            command, input=stdin, capture_output=True, check=False, timeout=SECONDS, env={**os.environ, **_ENVIRONMENT}
        )
    except FileNotFoundError:
        raise _problem(text, "KV951", "the program git is not installed; give a file instead of REF:path") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _problem(text, "KV951", f"git cannot be run: {error}") from None
