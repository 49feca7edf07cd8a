"""Battles clicked through in a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from arena_players import Script, arena, scripted, stalling
from playwright.sync_api import Browser, BrowserContext, Page, expect

from langraft.arena.players import Endpoint
from langraft.arena.rate import FEWEST_VOTES, rate
from langraft.arena.store import Store
from langraft.report.arena import write_arena_page

EVIL = "<script>window.owned = 1</script><img src=x onerror='window.owned = 2'>"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "arena.sqlite", ["x", "y"])
    yield found
    found.close()


def saying(*pieces: str, wait: threading.Event | None = None) -> Script:
    """Says `pieces`, and waits before the last one."""

    def script(_: dict[str, Any]) -> Iterator[str]:
        yield from pieces[:-1]
        if wait is not None:
            wait.wait(10)
        yield pieces[-1]

    return script


def players(x: str, y: str) -> dict[str, Endpoint]:
    return {"x": Endpoint("x", x, "m"), "y": Endpoint("y", y, "m", patience=1.0)}


def answers(page: Page) -> list[str]:
    expect(page.locator("#votes")).to_be_visible()
    return page.locator(".answer p").all_inner_texts()


def asked(page: Page, prompt: str) -> None:
    page.locator("#prompt").press_sequentially(prompt)
    page.keyboard.press("Enter")


def test_a_whole_battle(visitor: BrowserContext, store: Store) -> None:
    go = threading.Event()
    with (
        scripted(saying("我是", f"甲。{EVIL}", wait=go)) as (x, _),
        scripted(saying("我是", "乙。", wait=go)) as (y, seen),
        arena(store, **players(x, y)) as url,
    ):
        page = visitor.new_page()
        page.goto(url)
        expect(page.locator("#category option")).to_have_count(3)
        page.select_option("#category", "写作")
        page.click("#suggest")
        expect(page.locator("#prompt")).to_have_value("写一句诗")
        page.fill("#prompt", "用一句话介绍长城")
        page.click("#send")
        # Both sides are on the page before either is complete.
        expect(page.locator(".answer.writing p")).to_have_text(["我是", "我是"])
        expect(page.locator("#votes")).to_be_hidden()
        assert page.locator("h2").all_inner_texts() == ["Model A", "Model B"]
        go.set()
        assert sorted(answers(page)) == sorted([f"我是甲。{EVIL}", "我是乙。"])
        assert seen[0][0]["messages"] == [{"role": "user", "content": "用一句话介绍长城"}]
        asked(page, "再短一点")
        expect(page.locator(".pair")).to_have_count(2)
        expect(page.locator("#votes")).to_be_visible()
        page.click("text=B is better")
        expect(page.locator("#notice")).to_contain_text("Now you see the names")
        expect(page.locator("#counts")).to_have_text("Decided so far: 1")
        (vote,) = store.votes()
        assert page.locator("h2").all_inner_texts() == [vote.model_a, vote.model_b] * 2
        assert (vote.winner, vote.turn, vote.question_id) == ("model_b", 2, "")
        assert page.locator(".answer.won").count() == 2
        assert page.evaluate("window.owned") is None
        page.click("#fresh")
        assert page.locator(".answer").count() == 0


def test_a_suggestion_brings_its_further_questions_and_its_category(
    visitor: BrowserContext, store: Store
) -> None:
    with (
        scripted(saying("two")) as (x, _),
        scripted(saying("2")) as (y, _),
        arena(store, **players(x, y)) as url,
    ):
        page = visitor.new_page()
        page.goto(url)
        page.select_option("#category", "maths")
        page.click("#suggest")
        page.click("#send")
        answers(page)
        expect(page.locator("#prompt")).to_have_value("sure?")
        page.click("#send")
        expect(page.locator(".pair")).to_have_count(2)
        answers(page)
        page.click("text=Both bad")
        expect(page.locator("#fresh")).to_be_visible()
    (vote,) = store.votes()
    assert (vote.question_id, vote.category, vote.turn) == ("q1", "maths", 2)
    assert vote.winner == "tie (bothbad)"


def test_a_refresh_keeps_an_answered_battle_and_a_restart_of_the_server_too(
    visitor: BrowserContext, store: Store
) -> None:
    with scripted(saying("甲")) as (x, _), scripted(saying("乙")) as (y, _):
        with arena(store, **players(x, y)) as url:
            page = visitor.new_page()
            page.goto(url)
            asked(page, "你好")
            said = answers(page)
            page.reload()
            assert answers(page) == said
            assert page.locator(".question").all_inner_texts() == ["你好"]
        assert store.void_unfinished() == 0
        with arena(store, port=int(url.rpartition(":")[2]), **players(x, y)):
            page.click("text=A is better")
            expect(page.locator("#notice")).to_contain_text("Now you see the names")
            page.reload()
            expect(page.locator("#notice")).to_contain_text("Now you see the names")
    (vote,) = store.votes()
    assert vote.winner == "model_a"


def test_a_refresh_in_the_middle_of_an_answer_voids_the_battle(
    visitor: BrowserContext, store: Store
) -> None:
    go = threading.Event()
    with (
        scripted(saying("well", "done", wait=go)) as (x, _),
        scripted(saying("well", "done", wait=go)) as (y, _),
        arena(store, **players(x, y)) as url,
    ):
        page = visitor.new_page()
        page.goto(url)
        asked(page, "hello")
        expect(page.locator(".answer.writing p")).to_have_text(["well", "well"])
        page.reload()
        expect(page.locator("#notice")).to_contain_text("does not count")
        expect(page.locator("#votes")).to_be_hidden()
        go.set()
        asked(page, "again")
        assert answers(page) == ["welldone", "welldone"]
        assert store.counts() == {"open": 1, "voted": 0, "void": 1}


def test_two_tabs_are_one_voter_in_two_battles(visitor: BrowserContext, store: Store) -> None:
    with (
        scripted(saying("甲")) as (x, _),
        scripted(saying("乙")) as (y, _),
        arena(store, **players(x, y)) as url,
    ):
        tabs = [visitor.new_page(), visitor.new_page()]
        for number, page in enumerate(tabs):
            page.goto(url)
            asked(page, f"question {number}")
        for page in tabs:
            answers(page)
            page.click("text=Equally good")
            expect(page.locator("#notice")).to_contain_text("Now you see the names")
    votes = store.votes()
    assert [v.conversation_a[0]["content"] for v in votes] == ["question 0", "question 1"]
    assert len({v.judge for v in votes}) == 1


def test_a_model_that_stalls_voids_the_battle_and_the_page_goes_on(
    visitor: BrowserContext, store: Store
) -> None:
    with (
        scripted(saying("fine")) as (x, _),
        scripted(stalling(3.0)) as (y, _),
        arena(store, **players(x, y)) as url,
    ):
        page = visitor.new_page()
        page.goto(url)
        asked(page, "hello")
        expect(page.locator("#notice")).to_contain_text("this battle does not count")
        assert page.locator(".answer.failed").count() == 1
        expect(page.locator("#votes")).to_be_hidden()
        assert page.locator("h2").all_inner_texts() == ["Model A", "Model B"]
        page.click("#fresh")
        expect(page.locator("#prompt")).to_be_enabled()
    assert store.counts() == {"open": 0, "voted": 0, "void": 1}


def test_the_page_speaks_chinese_to_a_chinese_browser(chromium: Browser, store: Store) -> None:
    with (
        scripted(saying("甲")) as (x, _),
        scripted(saying("乙")) as (y, _),
        arena(store, **players(x, y)) as url,
    ):
        page = chromium.new_page(locale="zh-CN")
        page.goto(url)
        assert page.locator("h1").inner_text() == "哪个回答更好？"
        asked(page, "你好")
        answers(page)
        assert page.locator("h2").all_inner_texts() == ["模型 A", "模型 B"]
        page.click("text=都不好")
        expect(page.locator("#notice")).to_have_text("谢谢！模型名称已揭晓。")
        texts = page.locator("header, main").all_inner_texts()
        assert not re.search("[a-z]{3}", "".join(texts).replace("maths", ""))
        page.close()
    assert [vote.winner for vote in store.votes()] == ["tie (bothbad)"]


def test_the_ratings_page_shows_what_models_wrote_as_text(
    visitor: BrowserContext, store: Store, tmp_path: Path
) -> None:
    for number in range(8):
        battle = store.open_battle("v", category="写作", language="zh", question_id="", settings={})
        store.ask(battle, "v", f"写一句诗 {number}")
        store.answer(battle, "v", "a", EVIL, 0.1)
        store.answer(battle, "v", "b", "床前明月光", 0.1)
        store.vote(battle, "v", ("model_a", "model_b", "tie")[number % 3])
    votes = store.votes()
    out = tmp_path / "arena.html"
    rows = [vote.__dict__ for vote in votes]
    write_arena_page(rate(votes, "bradley-terry", 100), rows, FEWEST_VOTES, out)
    page = visitor.new_page()
    page.goto(out.as_uri())
    assert page.locator("svg.interval circle").count() == 2
    assert page.locator("table.matrix").count() == 2
    assert EVIL in page.locator("main").inner_text()
    assert page.evaluate("window.owned") is None
    assert page.locator("img").count() == 0
