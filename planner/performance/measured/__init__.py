"""The user's own benchmark results: read from what harnesses write, checked, and held against predictions.

files.py     any file -> runs, or what is wrong with it       raw.py       what a harness's file says
vllm_bench.py, guidellm.py, aiperf.py     one harness each    table.py, profile.py     formats of our own
belongs.py   what may be mixed                                calibrate.py     measured / predicted
"""
