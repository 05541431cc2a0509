"""`python -m planner` and the `kvplan` command."""

import gc
import os
import sys

# kvplan has no pydantic plugins; looking for them among all installed packages takes a twentieth of a start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def main() -> None:
    """Runs the command; an interrupt while it still loads ends it as one at any other time does."""
    gc.set_threshold(100_000)  # a short-lived command: what it loads stays, and need not be searched for garbage
    try:
        from planner.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
