"""Counts and times of a service, in the text format of Prometheus (version 0.0.4)."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping

COUNTERS = {
    "nhin_requests_total": "Requests answered, by route and status; 499: the client left.",
    "nhin_pages_total": "Pages read.",
    "nhin_worker_restarts_total": "Workers replaced, by reason: crashed, slow, left, failed or old.",
    "nhin_retries_total": "Requests tried once more because their worker crashed.",
}
GAUGES = {
    "nhin_queue_length": "Accepted requests that wait for a worker.",
    "nhin_running": "Requests that a worker is reading.",
    "nhin_workers_ready": "Workers that can read.",
}
SECONDS = "nhin_request_seconds"
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[tuple[str, str], ...]


class ServiceMetrics:
    """Counters and one histogram; gauges are given when the text is made."""

    def __init__(self) -> None:
        self._counts: dict[str, defaultdict[Labels, int]] = {name: defaultdict(int) for name in COUNTERS}
        self._buckets: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def add(self, name: str, count: int = 1, **labels: str) -> None:
        """Add to a counter of ``COUNTERS``."""
        self._counts[name][tuple(labels.items())] += count

    def count(self, name: str, **labels: str) -> int:
        """Return a counter."""
        return self._counts[name][tuple(labels.items())]

    def observe(self, route: str, seconds: float) -> None:
        """Add a request's seconds to the histogram."""
        buckets = self._buckets.setdefault(route, [0] * (len(BUCKETS) + 1))
        buckets[bisect_left(BUCKETS, seconds)] += 1
        self._sums[route] = self._sums.get(route, 0.0) + seconds

    def format(self, gauges: Mapping[str, float]) -> str:
        """Return everything as text."""
        lines: list[str] = []
        for name, text in COUNTERS.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} counter"]
            counts = self._counts[name] or {(): 0}
            lines += [f"{name}{_format_labels(labels)} {count}" for labels, count in sorted(counts.items())]
        for name, text in GAUGES.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {gauges[name]:g}"]
        lines += [
            f"# HELP {SECONDS} Seconds from a request's headers to its answer.",
            f"# TYPE {SECONDS} histogram",
        ]
        for route, buckets in sorted(self._buckets.items()):
            total = 0
            for limit, count in zip((*map(str, BUCKETS), "+Inf"), buckets, strict=True):
                total += count
                lines.append(f'{SECONDS}_bucket{{route="{route}",le="{limit}"}} {total}')
            lines.append(f'{SECONDS}_sum{{route="{route}"}} {self._sums[route]:.6f}')
            lines.append(f'{SECONDS}_count{{route="{route}"}} {total}')
        return "\n".join(lines) + "\n"


def _format_labels(labels: Labels) -> str:
    """Return labels in braces; their values are our own words, which need no escapes."""
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels) + "}" if labels else ""
