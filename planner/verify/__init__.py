"""The look back: what a plan predicted against what a fleet did, and why they differ."""
