from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from api_server import running

from langraft.export.parity import HARD_LINES
from langraft.serve.api import build_api
from langraft.serve.engine import Engine
from langraft.serve.limits import Limits
from langraft.serve.llama import LlamaEngine
from langraft.serve.local import TransformersEngine

KEY = "secret"


@pytest.fixture(scope="session")
def llama(file: Path) -> Iterator[tuple[str, LlamaEngine]]:
    engine = LlamaEngine(file, "tiny", context=256, slots=3, embeddings=True)
    with running(build_api(engine, Limits(queue=4, keys=(KEY,), body_bytes=100_000))) as place:
        yield place, engine


@pytest.fixture(scope="session")
def local(merged_model: Path) -> Iterator[str]:
    with running(build_api(TransformersEngine(merged_model, "tiny"), Limits(keys=(KEY,)))) as place:
        yield place


@pytest.fixture(params=["llama", "local"])
def client(request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    found = request.getfixturevalue(request.param)
    place = found if isinstance(found, str) else found[0]
    with openai.OpenAI(base_url=f"{place}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def greedy(client: openai.OpenAI, prompt: Any, tokens: int, **more: Any) -> Any:
    return client.completions.create(
        model="tiny", prompt=prompt, max_tokens=tokens, temperature=0, **more
    )


def test_both_engines_say_the_same(llama: tuple[str, Engine], local: str) -> None:
    said = []
    for place in (llama[0], local):
        with openai.OpenAI(base_url=f"{place}/v1", api_key=KEY) as client:
            found = greedy(client, ["abc", "中文"], 12, logprobs=2)
            said.append([choice.text for choice in found.choices])
            assert found.usage.prompt_tokens == 3 + 6
            assert found.usage.completion_tokens == 24
            logprobs = found.choices[0].logprobs
            assert all(
                max(top.values()) == pytest.approx(value)
                for top, value in zip(logprobs.top_logprobs, logprobs.token_logprobs, strict=True)
            )
    assert said[0] == said[1]


def test_streamed_text_is_the_whole_text(client: openai.OpenAI) -> None:
    whole = greedy(client, "abc", 16).choices[0].text
    chunks = list(greedy(client, "abc", 16, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole
    assert chunks[-2].choices[0].finish_reason == "length"
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (3, 16)


@pytest.mark.parametrize("text", [*HARD_LINES, "", " ", "  \n", "中" * 20])
def test_no_prompt_has_more_tokens_than_is_said_without_counting(
    llama: tuple[str, LlamaEngine], text: str
) -> None:
    """Such a prompt is never counted: the engine gets one request instead of two."""
    place, engine = llama
    with openai.OpenAI(base_url=f"{place}/v1", api_key=KEY) as client:
        found = client.completions.create(model="tiny", prompt=text, max_tokens=1)
    assert found.usage is not None
    assert len(text) / 4 <= found.usage.prompt_tokens <= engine.most(text)


def test_chat_stream_and_whole_agree(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "system", "content": "brief"}, {"role": "user", "content": "你好"}]
    options: Any = {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 8}
    whole = client.chat.completions.create(**options)
    chunks = list(client.chat.completions.create(**options, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    said = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert said == whole.choices[0].message.content
    assert len({chunk.id for chunk in chunks}) == 1


def test_seed_choices_stop_and_echo(client: openai.OpenAI) -> None:
    def sampled() -> list[str]:
        found = client.completions.create(
            model="tiny", prompt="abc", max_tokens=8, temperature=1, seed=7, n=2
        )
        return [choice.text for choice in found.choices]

    first = sampled()
    assert first == sampled()
    assert first[0] != first[1]
    text = greedy(client, "abc", 12).choices[0].text
    place = next(n for n, c in enumerate(text) if n and c.isascii())
    stopped = greedy(client, "abc", 12, stop=text[place])
    assert stopped.choices[0].text == text[: text.index(text[place])]
    assert stopped.choices[0].finish_reason == "stop"
    assert greedy(client, "abc", 12, echo=True).choices[0].text == "abc" + text
    assert greedy(client, "abc", 0, echo=True).choices[0].text == "abc"


def test_embeddings_are_unit_vectors_and_alike_for_like_texts(client: openai.OpenAI) -> None:
    def vectors(encoding: Any) -> list[list[float]]:
        found = client.embeddings.create(
            model="tiny", input=["abcd", "abce", "中文字"], encoding_format=encoding
        )
        return [item.embedding for item in found.data]

    one, near, far = vectors("float")
    assert sum(x * x for x in one) == pytest.approx(1, abs=1e-4)
    dot = [sum(x * y for x, y in zip(one, other, strict=True)) for other in (near, far)]
    assert dot[0] > dot[1]
    assert vectors(openai.omit)[0] == pytest.approx(one, abs=1e-4)  # base64 on the wire


def test_an_answer_follows_a_schema(llama: tuple[str, Engine]) -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}},
        "required": ["size"],
        "additionalProperties": False,
    }
    with openai.OpenAI(base_url=f"{llama[0]}/v1", api_key=KEY) as client:
        found = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "x"}],
            max_tokens=60,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema},
            },
        )
    assert json.loads(found.choices[0].message.content or "")["size"] in ("small", "large")


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"model": "../../etc/passwd"}, 404, "does not exist"),
    ({"temperature": -3}, 400, "temperature"),
    ({"temperature": "hot"}, 400, "temperature"),
    ({"max_tokens": -5}, 400, "max_tokens"),
    ({"n": 0}, 400, "n:"),
    ({"stop": [""]}, 400, "stop"),
    ({"seed": -1}, 400, "seed"),
    ({"prompt": "x" * 300}, 400, "context is 256 tokens"),
    ({"prompt": [[999_999_999]]}, 400, ""),
    ({"logit_bias": {"no": 1}}, 400, "not a token id"),
    ({"best_of": 3}, 400, "best_of"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
    ({"typo": 1}, 400, "typo"),
]


@pytest.mark.parametrize("engine", ["llama", "local"])
def test_malformed_requests_get_openais_error(engine: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(engine)
    place = found if isinstance(found, str) else found[0]
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=place, headers=headers) as http:
        for change, status, words in REFUSED:
            body = {"model": "tiny", "prompt": "abc", "max_tokens": 4} | change
            reply = http.post("/v1/completions", json=body)
            error = reply.json()["error"]
            assert (reply.status_code, set(error)) == (status, {"message", "type", "param", "code"})
            assert words in error["message"]
        messages = [{"role": "user", "content": "x"}]
        for change in (
            {"messages": []},
            {"messages": [{"role": "king", "content": "x"}]},
            {"messages": messages, "tools": [{"type": "function"}]},
            {"messages": messages, "top_logprobs": 3},
            {"messages": messages, "response_format": {"type": "json_schema"}},
        ):
            reply = http.post("/v1/chat/completions", json={"model": "tiny"} | change)
            assert reply.status_code == 400
            assert reply.json()["error"]["type"] == "invalid_request_error"
        assert http.get("/v1/models/nothing").status_code == 404
        assert http.get("/v1/models/..%2f..%2fetc").status_code == 404
        assert "error" in http.get("/nowhere").json()
        assert "error" in http.get("/v1/completions").json()


def raw(place: str, content: bytes, seconds: float = 30) -> bytes:
    host, port = place.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as link:
        link.sendall(content)
        parts = []
        while part := link.recv(65536):
            parts.append(part)
            if b"}" in part:
                break
    return b"".join(parts)


def test_bodies_that_are_too_large_or_no_text(llama: tuple[str, Engine]) -> None:
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    kind = "Content-Type: application/json\r\n"
    declared = raw(llama[0], f"{head}{kind}Content-Length: 10000000\r\n\r\n".encode())
    assert b" 413 " in declared.split(b"\r\n", 1)[0]
    assert b"larger than 100,000 bytes" in declared
    chunk = b"61a80\r\n" + b"x" * 400_000 + b"\r\n"
    chunked = raw(llama[0], f"{head}{kind}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk)
    assert b" 413 " in chunked.split(b"\r\n", 1)[0]
    for body in (b'{"model": "tiny", "prompt": "\xff\xfe"}', b"{", b"[]", b"null", b'{"a":NaN}'):
        reply = raw(llama[0], f"{head}{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert b" 400 " in reply.split(b"\r\n", 1)[0], body
        assert b'"error"' in reply


def test_keys_are_asked_for_and_browsers_elsewhere_get_nothing(llama: tuple[str, Engine]) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        reply = httpx.get(f"{llama[0]}/v1/models", headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    reply = httpx.get(f"{llama[0]}/health", headers={"Origin": "http://evil.example"})
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers


def test_a_slow_client_is_dropped(file: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langraft.serve.http.HEADER_SECONDS", 0.3)
    app = build_api(TransformersEngine(model, "tiny"), Limits(body_seconds=0.3))
    with running(app) as place:
        assert raw(place, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n", 5) == b""
        slow = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
        assert b" 408 " in raw(place, slow, 5)


def metric(place: str, name: str) -> float:
    lines = httpx.get(f"{place}/metrics").text.splitlines()
    return float(next(line.split(" ")[1] for line in lines if line.startswith(f"{name} ")))


def test_a_client_that_leaves_frees_its_slot(llama: tuple[str, LlamaEngine]) -> None:
    place, _ = llama
    before = metric(place, "langraft_cancelled_total")
    body = {"model": "tiny", "prompt": "a", "max_tokens": 250, "logit_bias": {"258": -100}}
    for stream in (True, False):
        with (
            httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as http,
            concurrent.futures.ThreadPoolExecutor() as pool,
        ):
            if stream:
                with http.stream(
                    "POST", f"{place}/v1/completions", json=body | {"stream": True}
                ) as reply:
                    next(reply.iter_lines())
            else:
                job = pool.submit(
                    httpx.post,
                    f"{place}/v1/completions",
                    json=body | {"n": 3, "prompt": "b" * 200, "max_tokens": 50},
                    headers={"Authorization": f"Bearer {KEY}"},
                    timeout=0.02,
                )
                assert isinstance(job.exception(), httpx.TimeoutException)
        limit = time.monotonic() + 1
        while metric(place, "langraft_requests_running") and time.monotonic() < limit:
            time.sleep(0.02)
        assert metric(place, "langraft_requests_running") == 0
    assert metric(place, "langraft_cancelled_total") >= before + 1


def test_a_full_queue_says_when_to_come_back(llama: tuple[str, LlamaEngine]) -> None:
    body = {"model": "tiny", "prompt": "abc", "max_tokens": 4, "n": 8}
    reply = httpx.post(
        f"{llama[0]}/v1/completions", json=body, headers={"Authorization": f"Bearer {KEY}"}
    )
    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) > 0
    assert reply.json()["error"]["type"] == "rate_limit_error"


def test_concurrent_streams_are_not_mixed_up(llama: tuple[str, LlamaEngine]) -> None:
    """Every client echoes a marker of its own; greedy answers must equal those given alone."""
    with openai.OpenAI(base_url=f"{llama[0]}/v1", api_key=KEY, max_retries=0) as client:

        def one(number: int) -> tuple[str, str]:
            marker = f"<{number}>"
            chunks = greedy(client, marker, 20, stream=True, echo=True)
            text = "".join(c.choices[0].text for c in chunks)
            assert text.startswith(marker)
            return marker, text

        alone = dict(one(number) for number in range(6))
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            for _ in range(3):
                assert dict(pool.map(one, range(6))) == alone


def test_a_killed_engine_is_an_error_and_comes_back(file: Path) -> None:
    engine = LlamaEngine(file, "tiny", context=256, slots=2)
    with running(build_api(engine, Limits())) as place:
        body = {"model": "tiny", "prompt": "a", "max_tokens": 250, "stream": True}
        with httpx.stream("POST", f"{place}/v1/completions", json=body, timeout=30) as reply:
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            lines = [line for line in reply.iter_lines() if line]
        if lines[-1] != "data: [DONE]":  # the tiny model may have been quicker than the signal
            assert json.loads(lines[-1][6:])["error"]["code"] == "engine_unavailable"
        limit = time.monotonic() + 20
        while httpx.get(f"{place}/health").status_code != 200:
            assert time.monotonic() < limit
            time.sleep(0.05)
        again = httpx.post(
            f"{place}/v1/completions", json=body | {"stream": False, "max_tokens": 4}, timeout=30
        )
        assert again.status_code == 200
        assert again.json()["usage"]["completion_tokens"] > 0


def test_langchain_talks_to_it(llama: tuple[str, LlamaEngine]) -> None:
    langchain = pytest.importorskip("langchain_openai")
    chat = langchain.ChatOpenAI(
        model="tiny", base_url=f"{llama[0]}/v1", api_key=KEY, temperature=0, max_tokens=8
    )
    whole = chat.invoke("你好").content
    assert whole
    assert "".join(part.content for part in chat.stream("你好")) == whole
    vectors = langchain.OpenAIEmbeddings(
        model="tiny", base_url=f"{llama[0]}/v1", api_key=KEY, check_embedding_ctx_length=False
    )
    assert len(vectors.embed_query("abc")) == 32


def test_penalties_take_no_memory(llama: tuple[str, LlamaEngine]) -> None:
    """llama.cpp allocates what `repeat_last_n` names; naming 2^31 took 8 GB at every request."""
    place, engine = llama
    with openai.OpenAI(base_url=f"{place}/v1", api_key=KEY) as client:
        plain = greedy(client, "aaaa", 8).choices[0].text
        options = {"top_k": 3, "repetition_penalty": 1.5, "min_p": 0.01}
        other = greedy(client, "aaaa", 8, presence_penalty=2, extra_body=options)
        assert other.choices[0].text != plain
    peak = Path(f"/proc/{engine.pid}/status").read_text().split("VmHWM:")[1].split()[0]
    assert int(peak) < 1_000_000
