"""The vLLM engine against a server with vLLM's command line and routes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import httpx
import openai
import pytest
from api_server import running

from langraft.core.errors import BadInput, RunFailed
from langraft.serve.api import build_api
from langraft.serve.local import TransformersEngine
from langraft.serve.vllm import VllmEngine


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "vllm"
    monkeypatch.setenv("WORKER", str(tmp_path / "worker"))
    script = Path(__file__).with_name("like_vllm.py")
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    path.chmod(0o755)
    return str(path)


def lives(process: int) -> bool:
    """Whether it is there, and no zombie."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_answers_are_the_upstreams_and_a_dead_one_comes_back(
    model: Path, program: str, tmp_path: Path
) -> None:
    """Its workers die with it: they would keep the memory that the next one needs."""
    engine = VllmEngine(model, "tiny", context=200, slots=4, program=program)
    messages = [{"role": "user", "content": "你好"}]
    body = {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 12}
    with (
        running(build_api(engine)) as place,
        running(build_api(TransformersEngine(model, "tiny", context=200))) as direct,
        openai.OpenAI(base_url=f"{place}/v1", api_key="none", max_retries=0) as client,
    ):
        ours = httpx.post(f"{place}/v1/chat/completions", json=body, timeout=60).json()
        theirs = httpx.post(f"{direct}/v1/chat/completions", json=body, timeout=60).json()
        assert ours["choices"] == theirs["choices"]
        assert ours["usage"] == theirs["usage"]
        options = {"model": "tiny", "prompt": "abc", "temperature": 0, "max_tokens": 9}
        chunks = list(client.completions.create(**options, stream=True, logprobs=2))
        assert "".join(c.choices[0].text for c in chunks) == (
            client.completions.create(**options).choices[0].text
        )
        assert chunks[0].choices[0].logprobs is not None
        with pytest.raises(openai.BadRequestError, match="context is 200"):
            client.completions.create(model="tiny", prompt="x" * 300)
        with pytest.raises(openai.APIStatusError, match="no embeddings"):
            client.embeddings.create(model="tiny", input="x")
        worker = int((tmp_path / "worker").read_text())
        assert engine.pid is not None
        assert lives(worker)
        os.kill(engine.pid, signal.SIGKILL)
        limit = time.monotonic() + 60
        while engine._upstream is not None:  # until its end is noticed, it is "not running"
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert httpx.get(f"{place}/health").status_code == 503
        with pytest.raises(openai.APIStatusError, match="engine is starting"):
            client.completions.create(**options)
        while httpx.get(f"{place}/health").status_code != 200:
            assert time.monotonic() < limit
            time.sleep(0.1)
        assert client.completions.create(**options).choices[0].text
        assert not lives(worker)
        worker = int((tmp_path / "worker").read_text())
        assert lives(worker)
    assert not lives(worker)


def test_a_missing_program_and_one_that_ends_say_so(model: Path, program: str) -> None:
    with pytest.raises(BadInput, match="no such command; vLLM has an environment of its own"):
        VllmEngine(model, "tiny", program="vllm-that-is-not-here")
    (model / "broken").write_text("")
    try:
        engine = VllmEngine(model, "tiny", program=program)
        with pytest.raises(RunFailed, match="did not come up"):
            asyncio.run(engine.start())
    finally:
        (model / "broken").unlink()
