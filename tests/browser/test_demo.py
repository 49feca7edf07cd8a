"""The web demo in headless Chromium, with every other host out of reach."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest
from api_server import running
from playwright.sync_api import BrowserContext
from tiny_llama import TEMPLATE, save_model

from langraft.serve.demo import build_demo
from langraft.serve.local import TransformersEngine

EVIL = "<img src=http://evil.example/x.png onerror=window.hacked=1><script>window.hacked=1</script>"
DONE = (
    "[...document.querySelectorAll('input,textarea')].filter(e => /tokens, /.test(e.value)).length"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("demo") / "model", TEMPLATE)


# gradio uses what pandas 3 calls deprecated
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_chinese_chat_and_two_models_side_by_side(model: Path, visitor: BrowserContext) -> None:
    page = visitor.new_page()
    page.set_default_timeout(60_000)
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
        for url, name in ((f"{place}/v1", "adapted"), (f"{place}/other1/v1", "base")):
            with openai.OpenAI(base_url=url, api_key="none") as client:
                assert [one.id for one in client.models.list()] == [name]
                answer = client.completions.create(model=name, prompt="abc", max_tokens=4)
                assert answer.usage is not None
                assert answer.usage.prompt_tokens == 3
    assert urls
    assert [u for u in urls if not u.startswith((place, "data:", "blob:"))] == []
    assert errors == []
