"""How fast a step goes: shared by the benchmarks of training speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def rate(step: Callable[[], object], tokens: int, seconds: float) -> float:
    """Tokens a second of the median step of `tokens`, the first tenth of the steps not counted."""
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(times) < 5:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return tokens / statistics.median(times[len(times) // 10 :])
