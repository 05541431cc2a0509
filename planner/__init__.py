"""kvplan: a declarative capacity planner for LLM inference. `planner.pipeline` is the Python API."""

__version__ = "0.1.0"
