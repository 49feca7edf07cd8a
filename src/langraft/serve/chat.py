"""A streaming chat in the terminal on transformers, and the greedy continuation for samples."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import jinja2
import torch
from rich.markup import escape
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.generation.streamers import BaseStreamer
from transformers.utils import logging as transformers_logging

from langraft.core.errors import BadInput
from langraft.core.messages import say
from langraft.graft.context import one_alpha

SEED = 17
PROMPT = "> "
UNFINISHED = "\N{REPLACEMENT CHARACTER}"
CONTEXT_TOKENS = 8
# A model may write escape sequences; the terminal must not obey them.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
HELP = "/clear forgets the conversation, /quit or Ctrl-D leaves, Ctrl-C stops an answer."


class Decoder(Protocol):
    """The part of a tokenizer that turns ids into text."""

    def decode(self, token_ids: Sequence[int], **options: Any) -> str:
        """The text of `token_ids`."""


class TextStream:
    """Ids in, text out as soon as it is certain: a character that is only half there is held back.

    Byte-level tokens cut UTF-8 anywhere, and SentencePiece drops the space of a first token, so
    text is the difference of two decodings that begin at the same earlier token. `after` holds the
    ids of the text that the stream continues.
    """

    def __init__(self, decoder: Decoder, after: Sequence[int] = ()) -> None:
        self._decoder = decoder
        self._ids = list(after[-CONTEXT_TOKENS:])
        self._start = 0
        self._shown = len(self._ids)

    def add(self, token: int) -> str:
        """Take one token and return the text that it completes, often empty."""
        self._ids.append(token)
        text = self._fresh()
        return "" if text.endswith(UNFINISHED) else self._advance(text)

    def end(self) -> str:
        """What is still held back, with U+FFFD where the model left a character unfinished."""
        return self._advance(self._fresh())

    def _advance(self, text: str) -> str:
        if text:
            self._start, self._shown = self._shown, len(self._ids)
        return text

    def _fresh(self) -> str:
        before = self._text(self._ids[self._start : self._shown])
        return self._text(self._ids[self._start :])[len(before) :]

    def _text(self, ids: list[int]) -> str:
        return self._decoder.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )


class _Printer(BaseStreamer):
    """Prints what `generate` hands over, a token at a time; the prompt, which comes first, not."""

    def __init__(self, decoder: Decoder, prompt: Sequence[int]) -> None:
        self._stream = TextStream(decoder, prompt)
        self._prompt_seen = False
        self.text = ""

    def put(self, value: torch.Tensor) -> None:
        """Take ids of any shape, as `generate` gives them."""
        if self._prompt_seen:
            for token in value.flatten().tolist():
                self._show(self._stream.add(token))
        self._prompt_seen = True

    def end(self) -> None:
        """Show what is still held back; twice is harmless."""
        self._show(self._stream.end())

    def _show(self, text: str) -> None:
        self.text += text
        sys.stdout.write(CONTROLS.sub("", text))
        sys.stdout.flush()


def load(model: Path) -> tuple[Any, Any]:
    """The model and the tokenizer of a local Hugging Face folder, on the GPU when there is one.

    Only safetensors are read, never pickle, and no code from the folder is run.

    Raises:
        BadInput: `model` is not such a folder; the message says what it lacks.
    """
    _check_folder(model)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, **options)
        loaded = AutoModelForCausalLM.from_pretrained(
            model, use_safetensors=True, dtype="auto", **options
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"{model}: transformers cannot load this model: {error}") from error
    return loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def _check_folder(model: Path) -> None:
    if not model.is_dir():
        raise BadInput(f"{model}: no such folder; a model is a Hugging Face folder on this machine")
    if not (model / "config.json").is_file():
        raise BadInput(f"{model}: not a model folder, it has no config.json")
    if not any(model.glob("*.safetensors")):
        raise BadInput(f"{model}: has no *.safetensors; weights in other formats are not loaded")
    if not any((model / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise BadInput(f"{model}: has neither tokenizer.json nor tokenizer.model")


def _generation(
    model: Any, tokenizer: Any, new_tokens: int, temperature: float
) -> GenerationConfig:
    """Our own settings only: what a folder's generation config says of sampling is not mixed in."""
    stops = stop_tokens(model, tokenizer)
    padding = tokenizer.pad_token_id
    settings: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        settings = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 0.95}
    return GenerationConfig(
        max_new_tokens=new_tokens,
        eos_token_id=stops or None,
        pad_token_id=padding if padding is not None else stops[0] if stops else 0,
        **settings,
    )


def stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The ids that end an answer: the generation config's and the tokenizer's."""
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return list(dict.fromkeys(i for i in [*ids, tokenizer.eos_token_id] if i is not None))


def complete(model: Any, tokenizer: Any, prompt: str, max_new_tokens: int) -> str:
    """The greedy continuation of `prompt`, without the prompt.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        prompt: the text to continue; at least one token.
        max_new_tokens: where to stop when the model does not.

    Raises:
        BadInput: the prompt has no token.
    """
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"].to(model.device)
    if ids.shape[1] == 0:
        raise BadInput("the prompt is empty: there is nothing to continue")
    settings = _generation(model, tokenizer, max_new_tokens, 0.0)
    with torch.inference_mode(), one_alpha(model, ids.shape[1] + max_new_tokens):
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=settings
        )
    stream = TextStream(tokenizer, ids[0].tolist())
    new = output[0, ids.shape[1] :].tolist()
    return "".join(stream.add(token) for token in new) + stream.end()


class Conversation:
    """The turns so far, and the model that continues them.

    With a chat template a turn is a message; without one the conversation is one growing text.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        max_new_tokens: int,
        temperature: float,
        system: str | None = None,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._settings = _generation(model, tokenizer, max_new_tokens, temperature)
        self._opening = [{"role": "system", "content": system}] if system else []
        self._messages: list[dict[str, str]] = []
        self._new_tokens = max_new_tokens
        self._room = _context(model) - max_new_tokens

    def clear(self) -> None:
        """Forget every turn; the system message stays."""
        self._messages = []

    def answer(self, text: str) -> str:
        """Stream the answer to `text` to stdout, remember both, and return the answer.

        Raises:
            BadInput: `text` alone is longer than the model can read.
            KeyboardInterrupt: Ctrl-C; what was said until then stays in the conversation.
        """
        self._messages.append({"role": "user", "content": text})
        ids = self._fitting_prompt()
        printer = _Printer(self._tokenizer, ids[0].tolist())
        try:
            with torch.inference_mode(), one_alpha(self._model, ids.shape[1] + self._new_tokens):
                self._model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=self._settings,
                    streamer=printer,
                )
        finally:
            printer.end()
            self._messages.append({"role": "assistant", "content": printer.text})
        return printer.text

    def _fitting_prompt(self) -> torch.Tensor:
        """The prompt's ids (1, T), the oldest turns left out until an answer fits behind them."""
        ids = self._prompt()
        dropped = 0
        while len(ids) > self._room and len(self._messages) > 1:
            self._messages, dropped = self._messages[2:], dropped + 1
            ids = self._prompt()
        if dropped:
            say(f"[dim]the model's context is full: the oldest {dropped} turns are forgotten[/dim]")
        if not 0 < len(ids) <= self._room:
            self._messages.pop()
            raise BadInput(
                f"this message is {len(ids):,} tokens; between 1 and {max(self._room, 0):,} fit "
                "into the model's context with an answer. Shorten it or lower --max-new-tokens"
            )
        return torch.tensor([ids], device=self._model.device)

    def _prompt(self) -> list[int]:
        messages = self._opening + self._messages
        if self._tokenizer.chat_template is None:
            parts = [("" if m["role"] == "assistant" else "\n") + m["content"] for m in messages]
            return list(self._tokenizer("".join(parts).removeprefix("\n"))["input_ids"])
        try:
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except jinja2.TemplateError as error:
            raise BadInput(
                f"the model's chat template refuses this conversation: {error}"
            ) from error
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def _context(model: Any) -> int:
    """How many tokens the model reads; unlimited when its config does not say, or when its
    position embedding stretches with the text (`langraft context --method auto`).
    """
    rope = getattr(model.config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "dynamic":
        return sys.maxsize
    return int(getattr(model.config, "max_position_embeddings", None) or sys.maxsize)


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


def chat(model: Path, *, max_new_tokens: int, temperature: float, system: str | None) -> None:
    """Chat with the model in folder `model` on the terminal, or answer every line of a piped stdin.

    Answers go to stdout, everything else to stderr. Temperature 0 is greedy; above it the sampling
    is seeded, so that the same lines give the same answers.

    Raises:
        BadInput: not a model folder; a negative temperature; no room for an answer; a piped line
            that does not fit.
    """
    if temperature < 0:
        raise BadInput(f"--temperature {temperature}: must be 0 (greedy) or more")
    if max_new_tokens < 1:
        raise BadInput(f"--max-new-tokens {max_new_tokens}: must be at least 1")
    loaded, tokenizer = load(model)
    torch.manual_seed(SEED)
    conversation = Conversation(loaded, tokenizer, max_new_tokens, temperature, system)
    interactive = sys.stdin.isatty()
    if interactive:
        # Only its import is needed: it gives input() line editing and history.
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401
        kind = "plain continuation, " if tokenizer.chat_template is None else ""
        say(f"[dim]{escape(str(model))}: {kind}/help for help[/dim]")
    for line in _lines(interactive):
        _turn(conversation, line, interactive)


def _turn(conversation: Conversation, line: str, interactive: bool) -> None:
    if line == "/help":
        say(HELP)
    elif line == "/clear":
        conversation.clear()
        say("[dim]forgotten[/dim]")
    elif line.startswith("/") and " " not in line and line[1:].isalpha():
        say(f"{escape(line)} is no command. {HELP}")
    else:
        try:
            conversation.answer(line)
        except KeyboardInterrupt:
            if not interactive:
                raise
        except BadInput as error:
            if not interactive:
                raise
            say(escape(str(error)))
            return
        sys.stdout.write("\n")
        sys.stdout.flush()
