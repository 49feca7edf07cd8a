"""Leftover HTML goes; what only looks like it, and code, stays."""

from __future__ import annotations

import pytest

from langraft.corpus.html import plain


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("<p>一段</p><p class='x'>二&nbsp;段</p>", "一段\n二 段"),
        ("甲<br/>乙<BR>丙", "甲\n乙\n丙"),
        ("<script>if (a < b) alert('x')</script>正文<!-- 注 -->", "正文"),
        (
            "<a href='http://a.b/?x=1&amp;y=2'>链接</a> &lt;b&gt; &#20013; &#x6587;",
            "链接 <b> 中 文",
        ),
        ("一\n<div>\n\n\n</div>\n二", "一\n\n二"),
        ("<style>p { color: red }</style>", ""),
    ],
)
def test_markup_goes(text: str, after: str) -> None:
    assert plain(text.encode()) == after


@pytest.mark.parametrize(
    "text",
    [
        "没有标签",
        "a < b && c > d",
        "vector<int> v;",
        "List<String>",
        "AT&T",
        "```\n<p>代码</p>\n```",
    ],
)
def test_what_is_no_markup_stays(text: str) -> None:
    assert plain(text.encode()) is None
