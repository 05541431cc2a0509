"""The judge: a plan's replicas replay requests one engine step at a time, and its promises are measured."""
