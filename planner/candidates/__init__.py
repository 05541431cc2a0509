"""Where nonlinear physics ends: a scenario becomes a finite table of replica configurations and rejections.

`items` cuts traffic into length bands, `physics` evaluates one block of configurations, `dominance` drops those that
another one replaces exactly, `table` puts the three together. Everything after this room is linear.
"""

from planner.candidates.table import build_table
from planner.candidates.types import Candidate, CandidateTable, Config, DemandItem, ItemLoad, MemoryRow, Rejection

__all__ = ["Candidate", "CandidateTable", "Config", "DemandItem", "ItemLoad", "MemoryRow", "Rejection", "build_table"]
