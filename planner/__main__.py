"""`python -m planner` and the `kvplan` command."""

import os
import sys

# kvplan has no pydantic plugins; looking for them among all installed packages takes a twentieth of a start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def main() -> None:
    """Runs the command; an interrupt while it still loads ends it as one at any other time does."""
    try:
        from planner.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
