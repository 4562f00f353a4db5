"""The load generators that benchmarks/loadgen.py compares, each started as a process of its own:

    python -m benchmarks.loadgen_clients.NAME URL STREAMS SECONDS     (prints one JSON object)

The peers read streams as those tools do, in code of our own.
"""
