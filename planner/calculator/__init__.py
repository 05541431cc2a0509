"""The KV calculator: one question about a model's memory, answered as plain records; no scenario, no solver."""
