"""Writes `hub_ids.yaml`, which finds a hub id without opening every model of the catalog.

Run `python -m planner.catalog.hub_index` after a change to the `hub_ids` of a model.
"""

from __future__ import annotations

from pathlib import Path

from planner.catalog.files import model_paths, read_json_object

HUB_IDS = Path(__file__).parent / "hub_ids.yaml"


def hub_text() -> str:
    """What the file must hold: every hub id that a model lists, in lower case, with its catalog id, sorted."""
    lines = []
    for model_id, path in model_paths().items():
        tree = read_json_object(path)
        listed = tree.get("hub_ids") if isinstance(tree, dict) else None
        lines += [f"{str(hub_id).lower()}: {model_id}" for hub_id in (listed if isinstance(listed, list) else ())]
    header = "# Catalog ids by hub id, written by `python -m planner.catalog.hub_index`."
    return "\n".join([header, *sorted(lines), ""])


if __name__ == "__main__":
    HUB_IDS.write_text(hub_text(), encoding="utf-8")
