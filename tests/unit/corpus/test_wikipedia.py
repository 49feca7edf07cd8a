"""Wikipedia's dumps become plain text, one article at a time."""

from __future__ import annotations

import bz2
import tracemalloc
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from langraft.core.errors import BadInput
from langraft.corpus.readers import Malformed, Record, read_texts
from langraft.corpus.readers.wikipedia import plain

ARTICLE = """{{Infobox 学科|名称=数学|图像=[[File:x.jpg|thumb]]}}
{{Otheruses|subject=学科}}
'''数学'''（{{lang|en|Mathematics}}，{{IPA|x}}）是研究[[數量]]、[[结构 (数学)|结构]]的\
-{zh-hans:学科;zh-hant:學科}-。<ref>引用{{cite web|url=x}}</ref>
[[File:Foo.png|thumb|说明[[链接]]文字]]
{| class="wikitable"
! 甲 !! 乙
|-
| 1 || [[二]]
|}
它有'''''很长'''''的历史<!-- 真的 -->，<small>{{nowrap|三千年}}</small>以上。

== 历史 ==
* 第一项<ref name="a"/>
* 第二项 [http://example.org 外链]
<math>x^2</math>
== 参考文献 ==
{{reflist}}
* 一本书
=== 更多 ===
网页
== 后记 ==
完。{{Navbox|title=学科|list=[[物理]]}}
[[Category:数学]] [[分类:学科]]
__NOTOC__"""
PLAIN = """数学（Mathematics，）是研究數量、结构的学科。

它有很长的历史，三千年以上。

历史
第一项
第二项 外链

后记
完。"""


def page(title: str, text: str, space: int = 0, redirect: bool = False) -> str:
    mark = '<redirect title="x" />' if redirect else ""
    return (
        f"<page><title>{escape(title)}</title><ns>{space}</ns><id>1</id>{mark}<revision><id>2</id>"
        f'<text bytes="9" xml:space="preserve">{escape(text)}</text></revision></page>'
    )


def dump(*pages: str) -> bytes:
    start = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="zh">'
    site = "<siteinfo><sitename>维基百科</sitename></siteinfo>"
    return f"{start}{site}{''.join(pages)}</mediawiki>".encode()


def test_wikitext_becomes_sentences() -> None:
    assert plain(ARTICLE) == PLAIN
    assert plain("-{繁体}-与-{A|zh-cn:软件; zh-tw:軟體;}-") == "繁体与软件"
    assert plain("{{convert|5|km}}长") == "5长"
    assert plain("没有关上的 [[链接 和 {{模板") != ""


def test_articles_come_with_their_title(tmp_path: Path) -> None:
    path = tmp_path / "zhwiki-pages-articles.xml.bz2"
    pages = [
        page("数学", ARTICLE),
        page("數學", "#REDIRECT [[数学]]", redirect=True),
        page("算学", "#重定向 [[数学]]"),
        page("Talk:数学", "讨论", space=1),
        "<page><title>坏页</title></page>",
        page("空", "{{stub}}"),
        page("A & B", "一 &lt; 二"),
    ]
    path.write_bytes(bz2.compress(dump(*pages)))
    flaws = Malformed()
    assert list(read_texts(path, "text", flaws)) == [
        Record(f"数学\n\n{PLAIN}", 1),
        Record("A & B\n\n一 < 二", 7),
    ]
    assert flaws.examples == [f"{path}:5: a page without title or text"]


def test_a_dump_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "big.xml"
    path.write_bytes(
        dump(*(page(f"条目{n}", f"第{n}条。" + "文字内容" * 5_000) for n in range(400)))
    )
    assert path.stat().st_size > 20_000_000
    list(read_texts(path))  # imports and caches
    tracemalloc.start()
    assert sum(1 for _ in read_texts(path)) == 400
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_what_is_no_dump_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(b"<rss><item/></rss>")
    with pytest.raises(BadInput, match=r"a\.xml: the root element is <rss>"):
        list(read_texts(tmp_path / "a.xml"))
    (tmp_path / "b.xml").write_bytes(dump(page("一", "二"))[:-20])
    with pytest.raises(BadInput, match=r"b\.xml: not well-formed XML \(.*line 1"):
        list(read_texts(tmp_path / "b.xml"))
    bombs = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    bomb = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{bombs}]>'
    (tmp_path / "c.xml").write_bytes(
        bomb.encode() + dump(page("一", "x")).replace(b">x<", b">&a9;<")
    )
    with pytest.raises(BadInput, match=r"c\.xml: not well-formed XML"):
        list(read_texts(tmp_path / "c.xml"))
