"""The verbs of serving and export as a user types them."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from tiny_llama import TEMPLATE, save_model

ROOT = Path(__file__).parents[2]
GREEDY = ("--temperature", "0", "--max-new-tokens", "8")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("verbs") / "tiny", TEMPLATE, ("q", "q"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = str(tmp_path_factory.mktemp("cache"))
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "XDG_CACHE_HOME": cache,
        "COLUMNS": "400",
    }


def langraft(
    environment: dict[str, str], *words: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "langraft", *words],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture
def server(model: Path, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    words = ["serve", str(model), "--port", "0", "--context", "256", "--embeddings"]
    process = subprocess.Popen(
        [sys.executable, "-m", "langraft", *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "(API: " not in (line := process.stderr.readline()):
        assert line, "the server ended"
    yield process, line.split("(API: ")[1].strip().removesuffix(")")
    process.kill()
    process.communicate()


def test_one_command_serves_openai_and_langchain_and_finishes_streams(
    server: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    process, url = server
    (tmp_path / "a.txt").write_text("abc。中文", encoding="utf-8")
    with openai.OpenAI(base_url=url, api_key="none", max_retries=20) as client:
        assert [one.id for one in client.models.list()] == ["tiny"]
        spec = importlib.util.spec_from_file_location(
            "example", ROOT / "examples" / "langchain_documents.py"
        )
        assert spec is not None
        assert spec.loader is not None
        example = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(example)
        assert isinstance(example.answer(url, "tiny", tmp_path, "abc"), str)
        stream = client.completions.create(
            model="tiny", prompt="a", max_tokens=200, stream=True, logit_bias={"258": -100}
        )
        first = next(stream)
        process.send_signal(signal.SIGTERM)
        rest = list(stream)
        assert first.choices[0].finish_reason is None
        assert rest[-1].choices[0].finish_reason == "length"
        assert process.wait(timeout=30) == 0
        with pytest.raises(openai.APIConnectionError):
            client.with_options(max_retries=0).models.list()


def test_gguf_is_written_checked_and_chatted_with(
    model: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "tiny.gguf"
    done = langraft(environment, "export", "gguf", str(model), "--out", str(file), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["parity"]["same_lines"] == 1000
    assert Path(found["modelfile"]).exists()
    answers = [
        langraft(
            environment, "chat", *words, "--temperature", "0", "--max-new-tokens", "8", stdin="hi\n"
        )
        for words in (
            (str(file),),
            (str(file), "--draft", str(file)),
            (str(model), "--engine", "transformers"),
        )
    ]
    assert [one.returncode for one in answers] == [0, 0, 0], [one.stderr for one in answers]
    assert len({one.stdout.rstrip("\N{REPLACEMENT CHARACTER}\n") for one in answers}) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "gguf", "MODEL", "--out", "x.gguf", "--type", "q3_x"), "known types are"),
        (("export", "check", "MODEL", "none.gguf"), "no such file"),
        (("serve", "none.gguf"), "no such file"),
        (("serve", "MODEL", "--engine", "vllm", "--vllm", "none"), "no such command"),
        (("ask", "MODEL", "x", "--docs", "none"), "no such file or folder"),
    ],
)
def test_bad_arguments_end_with_2(
    model: Path, environment: dict[str, str], words: tuple[str, ...], message: str
) -> None:
    done = langraft(environment, *(str(model) if word == "MODEL" else word for word in words))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_has_an_example(environment: dict[str, str]) -> None:
    for verb in ("serve", "export table"):
        said = langraft(environment, *verb.split(), "--help").stdout
        assert "Example: langraft" in said, verb
