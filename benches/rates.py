"""Speeds beside the times that pytest-benchmark shows."""


def note_rate(benchmark, name, amount):
    """Note `amount` a second, by the median time, and return it; None where nothing was timed (--benchmark-disable)."""
    if benchmark.stats is None:
        return None
    benchmark.extra_info[name] = rate = amount / benchmark.stats.stats.median
    return rate
