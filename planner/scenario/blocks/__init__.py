"""The blocks of the scenario file, a module a part of it; `planner.scenario.schema` is the whole."""
