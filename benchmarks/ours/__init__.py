"""Our client's side of the benchmarks: `python -m benchmarks.ours HOST:PORT` answers for the asyncio classes.

`meter` and `bodies` are what every face of ours shares, `lines` what the blocking programs share; `sending` and `consuming` hold the
workloads. The blocking classes answer in `benchmarks.ours_sync`.
"""
