"""`python -m planner` and the `kvplan` command."""

import os

# kvplan has no pydantic plugins; looking for them among all installed packages takes a twentieth of a start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from planner.cli.main import main

if __name__ == "__main__":
    main()
