"""How much was asked, and how much of it got no answer."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.metrics import sequential
from evensight.monitor.alarms import REJECTED, Alarm, share

# Seconds of a bin of the time line: the least of these that needs at most this many bins.
STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400, 604_800)
MOST_BINS = 60


def volume(times: NDArray[np.float64], rejected: NDArray[np.float64], codes: list[str]) -> dict[str, Any]:
    """Counts requests over time.

    Args:
        times: Of predictions, seconds since 1970.
        rejected: Of requests that got none.
        codes: Why, of each of those.

    Returns:
        `predicted`, `rejected` by code, `first` and `last` second (null where there is none), `step` in seconds, and
        `bins`: `start` second with `predicted` and `rejected` in it.
    """
    every = np.concatenate([times, rejected])
    found: dict[str, Any] = {"predicted": len(times), "rejected": dict(sorted(Counter(codes).items()))}
    if not len(every):
        return {**found, "first": None, "last": None, "step": STEPS[0], "bins": []}
    first, last = float(every.min()), float(every.max())
    step = next((step for step in STEPS if (last - first) / step < MOST_BINS - 1), STEPS[-1])
    start = math.floor(first / step) * step
    # A clock that was wrong once must not make millions of bins.
    count = min(int((last - start) // step) + 1, 10 * MOST_BINS)
    step = max(step, math.ceil((last - start) / count))

    def counted(moments: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.bincount(np.minimum((moments - start) // step, count - 1).astype(np.int64), minlength=count)

    rows = zip(counted(times).tolist(), counted(rejected).tolist(), strict=True)
    bins = [{"start": start + step * k, "predicted": p, "rejected": r} for k, (p, r) in enumerate(rows)]
    return {**found, "first": first, "last": last, "step": step, "bins": bins}


def too_many_rejected(
    times: NDArray[np.float64], rejected: NDArray[np.float64], most: float, alpha: float
) -> list[Alarm]:
    """Alarms where more than the share `most` of all requests is rejected, in windows of 500 requests.

    Args:
        times: Of predictions, ascending.
        rejected: Of requests that got none.
        most: The share that is taken for normal.
        alpha: Of all alarms of every kind; this one has its share of it.
    """
    moments = np.concatenate([times, rejected])
    lost = np.concatenate([np.zeros(len(times), dtype=bool), np.ones(len(rejected), dtype=bool)])
    order = np.argsort(moments, kind="stable")
    lost = lost[order]
    windows = sequential.windows(np.zeros(len(lost), dtype=np.int64))
    x = windows.so_far(lost)
    log_e = sequential.rate_log_e_above(x, windows.n, most)
    needed = sequential.log_threshold(windows.number, 1, share(REJECTED, alpha))
    crossed = np.flatnonzero(log_e >= needed)
    if not len(crossed):
        return []
    at = int(crossed[0])
    n, of = int(windows.n[at]), int(x[at])
    return [
        Alarm(
            kind=REJECTED,
            label="rejected requests",
            part="",
            what=f"{of:,} of {n:,} requests got no prediction, more than {most:.1%} of them".replace("%", " %"),
            time=float(moments[order][at]),
            request=int((~lost[: at + 1]).sum()),
            n=n,
            evidence={
                "estimate": of / n,
                "bound": most,
                "window": int(windows.number[at]),
                "log10_e": float(log_e[at]) / math.log(10),
                "log10_needed": float(needed[at]) / math.log(10),
            },
        )
    ]
