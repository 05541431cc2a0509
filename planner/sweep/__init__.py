"""Many scenarios: grids, attribution of costs to edits, and the pool of processes that solves them."""
