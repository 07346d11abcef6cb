"""Benchmarks against a real broker, with other clients beside ours: `python -m benchmarks` (or `make bench`).

`workloads` says what is measured, `peers` who is measured, `run` in which order, `report` how it is shown. A peer is a program that
answers JSON lines (`tests.support.line_program`): one request per workload and round, answered with count, failed, seconds and cpu_seconds.
"""
