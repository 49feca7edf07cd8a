"""One side's answer on its way to the page, and into the battle's row when it is complete."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Generator, Mapping

import anyio
from anyio import to_thread

from langraft.arena.players import Message, Player, Settings, joined
from langraft.arena.store import NotAllowed, Store
from langraft.core.errors import LangraftError, RunFailed

# Threads that wait for models, apart from those that take votes: slow models keep nobody from
# voting.
MOST_ANSWERS = 256
LONGEST_ANSWER = 100_000


class Answers:
    """The answers that are being written.

    Args:
        store: where they go.
        players: who writes them, by name.
    """

    def __init__(self, store: Store, players: Mapping[str, Player]) -> None:
        self._store, self._players = store, players
        self._limiter = anyio.CapacityLimiter(MOST_ANSWERS)
        self._under_way: set[tuple[str, str]] = set()

    def begin(self, battle: str, voter: str, side: str) -> AsyncIterator[str]:
        """The answer of one side as JSON lines: `text` pieces, then `done` or `error`. What fails
        voids the battle, and so does a reader who leaves before the end.

        Raises:
            NotAllowed: nothing waits for an answer, or it is being written already.
        """
        row = self._store.battle(battle, voter)
        talk = json.loads(row[f"conversation_{side}"])
        if row["state"] != "open" or not talk or talk[-1]["role"] != "user":
            raise NotAllowed("there is nothing to answer")
        if (battle, side) in self._under_way:
            raise NotAllowed("this side is answering already")
        player = self._players.get(row[f"model_{side}"])
        settings = Settings(**json.loads(row["settings"]))
        where = (battle, voter, side)
        return self._through_threads(where, self._lines(player, where, talk, settings))

    def _lines(
        self,
        player: Player | None,
        where: tuple[str, str, str],
        talk: list[Message],
        settings: Settings,
    ) -> Generator[str, None, None]:
        battle, voter, side = where
        started, said, length, complete = time.monotonic(), [], 0, False
        try:
            if player is None:
                raise RunFailed("this arena no longer has the model")
            with contextlib.closing(player.stream(talk, settings)) as pieces:
                for piece in pieces:
                    said.append(piece)
                    length += len(piece)
                    if length > LONGEST_ANSWER:
                        raise RunFailed(f"the answer is longer than {LONGEST_ANSWER:,} characters")
                    yield _line(text=piece)
            self._store.answer(battle, voter, side, joined(said), time.monotonic() - started)
            complete = True
            yield _line(done=True)
        except LangraftError as error:
            self._store.void(battle, f"side {side}: {error}")
            yield _line(error="This side failed, so the battle does not count.")
        except GeneratorExit:
            if not complete:
                self._store.void(battle, f"side {side}: the page was left before it had answered")
            raise

    async def _through_threads(
        self, where: tuple[str, str, str], lines: Generator[str, None, None]
    ) -> AsyncIterator[str]:
        claim = (where[0], where[2])
        # Checked and claimed in the event loop, so that no second reader comes between.
        if claim in self._under_way:
            yield _line(error="This side is answering elsewhere.")
            return
        self._under_way.add(claim)
        try:
            while True:
                line = await to_thread.run_sync(next, lines, None, limiter=self._limiter)
                if line is None:
                    return
                yield line
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(lines.close, limiter=self._limiter)
            self._under_way.discard(claim)


def _line(**event: object) -> str:
    return json.dumps(event) + "\n"
