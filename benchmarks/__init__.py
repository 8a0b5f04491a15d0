"""Ratios against named baselines: `make benchmarks`, or `python -m benchmarks NAME…` for some of them."""
