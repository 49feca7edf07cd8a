"""A streaming chat in the terminal, on any engine."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.markup import escape

from langraft.core.errors import BadInput, RunFailed
from langraft.core.io import write_json
from langraft.core.messages import say
from langraft.serve.engine import End, Engine, EngineError, Generation
from langraft.serve.templates import fit

SEED, TOP_P = 17, 0.95
PROMPT = "> "
# A model may write escape sequences; the terminal must not obey them.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
HELP = (
    "/history shows the conversation, /save FILE writes it, /system TEXT sets the system message, "
    "/clear forgets the conversation, /quit or Ctrl-D leaves, Ctrl-C stops an answer."
)


@dataclasses.dataclass(frozen=True)
class Speed:
    """How one answer went.

    Attributes:
        tokens, seconds: what was generated, and in which time, reading the prompt included.
        drafted, accepted: of a draft model's proposals.
    """

    tokens: int
    seconds: float
    drafted: int
    accepted: int

    def line(self) -> str:
        """One line for the person at the terminal."""
        rate = f"{self.tokens} tokens, {self.tokens / self.seconds:.1f} a second"
        if not self.drafted:
            return rate
        return f"{rate}; {self.accepted} of {self.drafted} drafted tokens kept"


class Conversation:
    """The turns so far, and the engine that continues them.

    Attributes:
        messages: the turns, `{"role", "content"}`, without the system message.
        system: the system message, which is never forgotten.
        speed: of the last answer.
    """

    def __init__(
        self, engine: Engine, max_new_tokens: int, temperature: float, system: str | None = None
    ) -> None:
        self._engine = engine
        self._tokens, self._temperature = max_new_tokens, temperature
        self.system = system
        self.messages: list[dict[str, str]] = []
        self.speed: Speed | None = None

    @property
    def whole(self) -> list[dict[str, str]]:
        """Every message, the system's first."""
        opening = [{"role": "system", "content": self.system}] if self.system else []
        return opening + self.messages

    async def answer(self, text: str) -> str:
        """Stream the answer to `text` to stdout, remember both, and return the answer.

        A cancelled answer stays in the conversation as far as it came.

        Raises:
            BadInput: `text` alone is longer than the model can read, or its template refuses it.
            RunFailed: the engine failed.
        """
        self.messages.append({"role": "user", "content": text})
        said: list[str] = []
        try:
            prompt = await self._fitting_prompt()
            await self._stream(prompt, said)
        except EngineError as error:
            self.messages.pop()
            kind = BadInput if error.status < 500 else RunFailed
            raise kind(str(error)) from error
        except asyncio.CancelledError:
            self.messages.append({"role": "assistant", "content": "".join(said)})
            raise
        self.messages.append({"role": "assistant", "content": "".join(said)})
        return "".join(said)

    async def _stream(self, prompt: str, said: list[str]) -> None:
        wanted = Generation(
            prompt,
            self._tokens,
            temperature=self._temperature,
            top_p=TOP_P,
            seed=SEED + len(self.messages),
        )
        started = time.perf_counter()
        async with contextlib.aclosing(self._engine.generate(wanted)) as pieces:
            async for piece in pieces:
                if isinstance(piece, End):
                    seconds = max(time.perf_counter() - started, 1e-9)
                    self.speed = Speed(
                        piece.completion_tokens, seconds, piece.drafted, piece.accepted
                    )
                else:
                    said.append(piece.text)
                    sys.stdout.write(CONTROLS.sub("", piece.text))
                    sys.stdout.flush()

    async def _fitting_prompt(self) -> str:
        room = self._engine.context - self._tokens
        opening = self.whole[: -len(self.messages)]
        fitted = await fit(self._engine, opening, self.messages, room)
        dropped = (len(self.messages) - len(fitted.turns)) // 2
        self.messages = fitted.turns
        if dropped:
            say(f"[dim]the model's context is full: the oldest {dropped} turns are forgotten[/dim]")
        if not 0 < fitted.tokens <= room:
            self.messages.pop()
            raise BadInput(
                f"this message is {fitted.tokens:,} tokens; between 1 and {max(room, 0):,} fit "
                "into the model's context with an answer. Shorten it or lower --max-new-tokens"
            )
        return fitted.prompt


def _lines(interactive: bool) -> Iterator[str]:
    """The user's lines, until the input or the user ends; Ctrl-C at the prompt starts a new one."""
    while True:
        try:
            line = _read(interactive)
        except KeyboardInterrupt:
            if not interactive:
                raise
            sys.stdout.write("\n")
            say(f"[dim]{HELP}[/dim]")
            continue
        if line is None or line == "/quit":
            return
        if line:
            yield line


def _read(interactive: bool) -> str | None:
    """One line without its end; None at the end of the input."""
    try:
        if not interactive:
            line = sys.stdin.readline()
            return line.strip() if line else None
        return input(PROMPT).strip()
    except EOFError:
        sys.stdout.write("\n")
        return None
    except UnicodeDecodeError as error:
        raise BadInput(f"stdin is not {error.encoding} text: {error.reason}") from error


def chat(
    engine: Engine, *, max_new_tokens: int, temperature: float, system: str | None = None
) -> None:
    """Chat with an engine on the terminal, or answer every line of a piped stdin.

    Answers go to stdout, everything else to stderr. Temperature 0 is greedy; above it the sampling
    is seeded, so that the same lines give the same answers.

    Raises:
        BadInput: a negative temperature; no room for an answer; a piped line that does not fit.
        RunFailed: the engine cannot load its model.
    """
    if temperature < 0:
        raise BadInput(f"--temperature {temperature}: must be 0 (greedy) or more")
    if max_new_tokens < 1:
        raise BadInput(f"--max-new-tokens {max_new_tokens}: must be at least 1")
    interactive = sys.stdin.isatty()
    with asyncio.Runner() as runner:
        runner.run(engine.start())
        try:
            conversation = Conversation(engine, max_new_tokens, temperature, system)
            if interactive:
                # Only its import is needed: it gives input() line editing and history.
                with contextlib.suppress(ImportError):
                    import readline  # noqa: F401
                say(f"[dim]{escape(engine.name)}: /help for help[/dim]")
            for line in _lines(interactive):
                _turn(runner, conversation, line, interactive)
        finally:
            runner.run(engine.stop())


def _turn(runner: asyncio.Runner, conversation: Conversation, line: str, interactive: bool) -> None:
    word, _, rest = line.partition(" ")
    try:
        if word in COMMANDS:
            COMMANDS[word](conversation, rest.strip())
            return
        if line.startswith("/") and not rest and line[1:].isalpha():
            say(f"{escape(line)} is no command. {HELP}")
            return
        runner.run(conversation.answer(line))
    except KeyboardInterrupt:
        if not interactive:
            raise
    except (BadInput, RunFailed) as error:
        if not interactive:
            raise
        say(escape(str(error)))
        return
    sys.stdout.write("\n")
    sys.stdout.flush()
    if interactive and conversation.speed is not None:
        say(f"[dim]{conversation.speed.line()}[/dim]")


def _help(conversation: Conversation, rest: str) -> None:
    say(HELP)


def _clear(conversation: Conversation, rest: str) -> None:
    conversation.messages = []
    say("[dim]forgotten[/dim]")


def _history(conversation: Conversation, rest: str) -> None:
    for message in conversation.whole:
        say(f"[bold]{message['role']}[/bold] {escape(CONTROLS.sub('', message['content']))}")


def _system(conversation: Conversation, rest: str) -> None:
    conversation.system = rest or None
    say("[dim]the system message is set[/dim]" if rest else "[dim]no system message[/dim]")


def _save(conversation: Conversation, rest: str) -> None:
    if not rest:
        raise BadInput("/save needs a file: /save talk.json")
    save(conversation.whole, Path(rest).expanduser())
    say(f"[dim]{len(conversation.messages)} messages: {escape(rest)}[/dim]")


def save(messages: Sequence[Mapping[str, str]], path: Path) -> None:
    """Write a conversation as `{"messages": [...]}`, the form that training reads.

    Raises:
        BadInput: the file cannot be written there.
    """
    if not path.parent.is_dir():
        raise BadInput(f"{path}: there is no folder {path.parent}")
    try:
        write_json(path, {"messages": [dict(message) for message in messages]})
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from error


COMMANDS = {
    "/help": _help,
    "/clear": _clear,
    "/history": _history,
    "/system": _system,
    "/save": _save,
}
