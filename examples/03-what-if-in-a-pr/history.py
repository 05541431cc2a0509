"""Makes a small git repository with a scenario, its lock, and a branch that asks for more.

    python examples/03-what-if-in-a-pr/history.py FOLDER

Dates and names are fixed, so that every run makes the same commits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCENARIO = "scenarios/helpdesk.yaml"
FIXED = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
"""Nothing of the reader's own git settings: commits come out the same everywhere."""

EDITS = (
    ("Expect the spring campaign", "2026-11-20T09:00:00Z", "    peak: 30 req/s", "    peak: 60 req/s"),
    ("Promise twice the speed of reading", "2026-11-20T11:00:00Z", "tpot_p95: 40ms", "tpot_p95: 20ms"),
)
"""Subject, date, and what is replaced by what: one commit each on the branch."""


def git(folder: Path, *args: str, date: str = "2026-11-19T09:00:00Z") -> None:
    """Runs git in the new repository and in nothing else."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    subprocess.run(["git", "-C", str(folder), *args], check=True, env={**environment, **FIXED, **dates})


def commit(folder: Path, subject: str, date: str) -> None:
    """Commits everything."""
    git(folder, "add", "--all", date=date)
    git(folder, "commit", "--quiet", "--message", subject, date=date)


def main(folder: Path) -> None:
    """Makes the repository: `main` with the scenario, and the branch `spring` with two edits."""
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"{folder} is not empty; name a new folder")
    scenario = folder / SCENARIO
    scenario.parent.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "config", "core.autocrlf", "false")
    shutil.copyfile(HERE / "scenario.yaml", scenario)
    commit(folder, "Plan the helpdesk", "2026-11-19T09:00:00Z")
    git(folder, "switch", "--quiet", "--create", "spring")
    for subject, date, before, after in EDITS:
        text = scenario.read_text(encoding="utf-8")
        if text.count(before) != 1:
            sys.exit(f"{SCENARIO} does not hold {before!r} once")
        scenario.write_text(text.replace(before, after), encoding="utf-8")
        commit(folder, subject, date)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} FOLDER")
    main(Path(sys.argv[1]))
