"""The quick list of preset names is the table's."""

from planner.compression.names import preset_name, preset_rows
from planner.compression.table import load_presets


def test_names_are_those_of_the_table() -> None:
    """Every row, with its version, and nothing else."""
    assert dict(preset_rows()) == {preset.id: preset.version for preset in load_presets().values()}
    assert len(preset_rows()) == len(load_presets())
    names = [preset_name(preset_id, version) for preset_id, version in preset_rows()]
    assert names == [preset.name for preset in load_presets().values()]
    assert len(set(names)) == len(names)
