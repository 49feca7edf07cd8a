"""The web demo in headless Chromium, with every other host out of reach."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "serve"))

from server import running
from tiny_llama import TEMPLATE, save_model

from langraft.serve.demo import Controls, build_demo, plain, unanswered, wanted
from langraft.serve.engine import EngineError
from langraft.serve.local import TransformersEngine

EVIL = "<img src=http://evil.example/x.png onerror=window.hacked=1><script>window.hacked=1</script>"
DONE = (
    "[...document.querySelectorAll('input,textarea')].filter(e => /tokens, /.test(e.value)).length"
)
FLAGS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("demo") / "model", TEMPLATE)


@pytest.fixture
def page() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on the path")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser.new_page(viewport={"width": 1200, "height": 900})
        browser.close()


def test_a_chinese_chat_and_two_models_side_by_side(model: Path, page: Any) -> None:
    engines = [TransformersEngine(model, "adapted"), TransformersEngine(model, "base")]
    urls: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    with running(build_demo(engines)) as place:
        page.goto(place)
        page.get_by_text("Settings").click()
        page.get_by_label("number input for New tokens").fill("12")
        page.fill("#chat-text textarea", f"你好，世界 {EVIL}")
        page.keyboard.press("Enter")
        page.wait_for_function(f"{DONE} >= 1")
        said = page.inner_text("#chat-0")
        assert "你好，世界" in said
        assert EVIL in said  # as text
        assert page.evaluate("window.hacked") is None
        assert page.locator("#chat-0 img[src*=evil]").count() == 0
        page.get_by_role("tab", name="Side by side").click()
        page.fill("#side-text textarea", "中文")
        page.keyboard.press("Enter")
        page.wait_for_function(f"{DONE} >= 3")
        assert all("中文" in page.inner_text(f"#side-{n}") for n in (0, 1))
        page.click("#side-clear")
        page.wait_for_function("!document.querySelector('#side-0').innerText.includes('中文')")
    assert urls
    assert [u for u in urls if not u.startswith((place, "data:", "blob:"))] == []
    assert errors == []


def settings(**changed: Any) -> Controls:
    usual: dict[str, Any] = {
        "system": "",
        "negative": "",
        "tokens": 8,
        "temperature": 0.2,
        "top_p": 0.9,
        "top_k": 40,
        "repetition": 1.1,
        "presence": 0.0,
        "memory": 200,
        "guidance": 1.0,
        "draft": 4,
    }
    return Controls(**usual | changed)


def test_the_controls_reach_the_engine_and_old_turns_are_forgotten(model: Path) -> None:
    async def work() -> None:
        engine = TransformersEngine(model, "m")
        await engine.start()
        turns = [{"role": "user", "content": [{"type": "text", "text": "早上好"}]}]
        made = await wanted(engine, turns, settings(system="be brief", guidance=1.5, negative="no"))
        assert made.prompt.startswith("<|im_start|>system\nbe brief<|im_end|>")  # type: ignore[union-attr]
        assert (made.top_k, made.repetition_penalty, made.guidance) == (40, 1.1, 1.5)
        assert made.negative is not None
        assert made.negative.startswith("<|im_start|>system\nno<|im_end|>")
        assert made.draft_tokens is None
        long = [
            {"role": role, "content": text * 30}
            for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))
        ]
        made = await wanted(engine, long, settings(memory=128))
        assert "aaa" not in str(made.prompt)
        assert "ccc" in str(made.prompt)
        with pytest.raises(EngineError, match="this message takes"):
            await wanted(engine, [{"role": "user", "content": "x" * 400}], settings())

    asyncio.run(work())


def test_turns_are_read_and_cut() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert unanswered(turns) == turns[:1]
    assert unanswered(turns, turns[:1]) == (turns[:1], turns[:1])
    assert plain([{"role": "user", "content": [{"type": "text", "text": "x"}]}]) == [
        {"role": "user", "content": "x"}
    ]
