"""Counters in Prometheus' text format."""

from __future__ import annotations

import collections
import time
from typing import Any

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROUTES = ("/v1/models", "/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/health")


class Metrics:
    """What the server has done since it started."""

    def __init__(self) -> None:
        self.waiting = self.running = 0
        self.prompt_tokens = self.completion_tokens = self.cancelled = 0
        self._requests: collections.Counter[tuple[str, int]] = collections.Counter()
        self._first = [0] * (len(BUCKETS) + 1)
        self._first_sum = 0.0

    def answered(self, scope: Any, status: int) -> None:
        """Count one answer by route and status; unknown routes share one name."""
        path = scope["path"]
        self._requests[(path if path in ROUTES else "other", status)] += 1

    def first_text(self, started: float) -> None:
        """Record the time from the request to its first piece of text."""
        seconds = time.monotonic() - started
        place = next((n for n, limit in enumerate(BUCKETS) if seconds <= limit), len(BUCKETS))
        self._first[place] += 1
        self._first_sum += seconds

    def text(self) -> str:
        """The page that Prometheus reads."""
        lines = ["# TYPE langraft_requests_total counter"]
        lines += [
            f'langraft_requests_total{{route="{route}",status="{status}"}} {count}'
            for (route, status), count in sorted(self._requests.items())
        ]
        for name, kind, value in (
            ("prompt_tokens_total", "counter", self.prompt_tokens),
            ("completion_tokens_total", "counter", self.completion_tokens),
            ("cancelled_total", "counter", self.cancelled),
            ("requests_running", "gauge", self.running),
            ("requests_waiting", "gauge", self.waiting),
        ):
            lines += [f"# TYPE langraft_{name} {kind}", f"langraft_{name} {value}"]
        lines.append("# TYPE langraft_first_text_seconds histogram")
        seen = 0
        for limit, count in zip((*BUCKETS, float("inf")), self._first, strict=True):
            seen += count
            mark = "+Inf" if limit == float("inf") else f"{limit:g}"
            lines.append(f'langraft_first_text_seconds_bucket{{le="{mark}"}} {seen}')
        lines.append(f"langraft_first_text_seconds_sum {self._first_sum:.6f}")
        lines.append(f"langraft_first_text_seconds_count {seen}")
        return "\n".join(lines) + "\n"
