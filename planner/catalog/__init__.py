"""Facts about the world: models, GPUs and engines, each with its source. Nothing is loaded on import."""

from planner.catalog.engines import engine_ids, load_engine
from planner.catalog.files import catalog_version
from planner.catalog.gpus import gpu_ids, load_gpu
from planner.catalog.models import load_model, model_ids

__all__ = [
    "catalog_version",
    "engine_ids",
    "gpu_ids",
    "load_engine",
    "load_gpu",
    "load_model",
    "model_ids",
]
