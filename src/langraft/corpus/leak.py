"""Training documents that nearly equal a held-out one: other editions, revised laws, mirrors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

SHORTEST_LINE = 10  # characters; shorter lines (headings, numbers) are shared by chance
LARGEST_SHARE = 0.5  # of the characters in the long lines of the shorter of the two texts


class HeldOutLines:
    """The long lines of all held-out texts, to compare training documents with."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._holders: defaultdict[str, list[int]] = defaultdict(list)
        self._sizes: list[int] = []
        for number, text in enumerate(texts):
            lines = _long_lines(text)
            self._sizes.append(sum(map(len, lines)))
            for line in lines:
                self._holders[line].append(number)

    def largest_share(self, text: str) -> float:
        """How much of the shorter text the best matching held-out text shares with `text`, 0 to 1.

        Shared are the characters of the distinct long lines that both have.
        """
        lines = _long_lines(text)
        size = sum(map(len, lines))
        shared: Counter[int] = Counter()
        for line in lines:
            for number in self._holders.get(line, ()):
                shared[number] += len(line)
        return max((n / min(size, self._sizes[i]) for i, n in shared.items()), default=0.0)


def _long_lines(text: str) -> set[str]:
    stripped = (line.strip() for line in text.split("\n"))
    return {line for line in stripped if len(line) >= SHORTEST_LINE}
