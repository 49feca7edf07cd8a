"""What clients may send: OpenAI's fields with their limits. What we cannot honour is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

Text = Annotated[StrictStr, Field(max_length=4_000_000)]
Ids = Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(min_length=1, max_length=200_000)]
Stop = Annotated[StrictStr, Field(min_length=1, max_length=200)]
LogitBias = Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=300)]


class Request(BaseModel):
    """Closed to unknown fields; those that change nothing here are named and ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: Annotated[StrictStr, Field(min_length=1, max_length=300)]
    user: StrictStr | None = None


class StreamOptions(BaseModel):
    """How a stream ends."""

    model_config = ConfigDict(extra="forbid")

    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False


class Sampled(Request):
    """What both kinds of completion have."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    n: Annotated[StrictInt, Field(ge=1, le=16)] | None = 1
    stream: StrictBool | None = False
    stream_options: StreamOptions | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=0, le=1_000_000)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    logit_bias: LogitBias | None = None
    seed: Annotated[StrictInt, Field(ge=0, lt=2**32)] | None = None
    # Not OpenAI's; the names are vLLM's, which llama.cpp's users know as well.
    top_k: Annotated[StrictInt, Field(ge=-1, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    metadata: Mapping[str, str] | None = None
    store: StrictBool | None = None
    service_tier: StrictStr | None = None

    @model_validator(mode="after")
    def _options_belong_to_streams(self) -> Sampled:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only allowed when stream is true")
        for key in self.logit_bias or {}:
            if not key.isascii() or not key.isdigit():
                raise ValueError(f"logit_bias: {key!r} is not a token id")
        return self

    @property
    def stops(self) -> list[str]:
        """`stop` as a list."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())


class Completion(Sampled):
    """/v1/completions."""

    prompt: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=64)]
        | Ids
        | Annotated[list[Ids], Field(min_length=1, max_length=64)]
    )
    logprobs: Annotated[StrictInt, Field(ge=0, le=5)] | None = None
    echo: StrictBool | None = False
    best_of: Annotated[StrictInt, Field(ge=1, le=16)] | None = None
    suffix: None = None

    @model_validator(mode="after")
    def _can_be_done(self) -> Completion:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ValueError("best_of: only the value of n is supported")
        if self.echo and self.logprobs is not None:
            raise ValueError("echo: prompts are not scored; leave logprobs out")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """`prompt` as a list of texts or of ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)


class TextPart(BaseModel):
    """A part of a message's content; only text is understood."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: Text


class Message(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=100)]
    name: StrictStr | None = None
    refusal: None = None

    def plain(self) -> dict[str, str]:
        """The message as chat templates take it."""
        parts = self.content
        text = parts if isinstance(parts, str) else "\n".join(part.text for part in parts)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class NamedSchema(BaseModel):
    """A JSON schema with a name."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: StrictStr | None = None
    strict: StrictBool | None = None
    content: dict[str, Any] = Field(alias="schema", default_factory=dict)


class ResponseFormat(BaseModel):
    """Free text, any JSON, or JSON that follows a schema."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema goes with type json_schema, and only with it")
        return self

    @property
    def schema_wanted(self) -> dict[str, Any] | None:
        """The schema to follow."""
        if self.type == "json_object":
            return {"type": "object"}
        return self.json_schema.content if self.json_schema is not None else None


class Chat(Sampled):
    """/v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=2_000)]
    max_completion_tokens: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    logprobs: StrictBool | None = False
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: None = None
    tool_choice: Literal["none"] | None = None
    functions: None = None

    @model_validator(mode="before")
    @classmethod
    def _tools_are_not_here(cls, data: Any) -> Any:
        if isinstance(data, dict) and (data.get("tools") or data.get("functions")):
            raise ValueError("tools: this server does not call tools; leave the field out")
        return data

    @model_validator(mode="after")
    def _probabilities_are_asked_for(self) -> Chat:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        return self


class Embedding(Request):
    """/v1/embeddings."""

    input: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=256)]
        | Ids
        | Annotated[list[Ids], Field(min_length=1, max_length=256)]
    )
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: None = None

    @property
    def inputs(self) -> list[str | list[int]]:
        """`input` as a list of texts or of ids."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [self.input]
        return list(self.input)
