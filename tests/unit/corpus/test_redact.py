"""Labels in the place of what names a person or opens a door, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.corpus.kernels.texts import Texts
from langraft.corpus.redact import PATTERNS, redact, valid_identity

ALL = tuple(PATTERNS)


def redacted(text: str, kinds: tuple[str, ...] = ALL) -> tuple[str, dict[str, int]]:
    texts, counts, _ = redact(Texts.of(["前", text, "后"]), kinds)
    assert (texts[0], texts[2]) == ("前", "后")
    return texts[1], dict(counts)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("联系wang.wu+x@mail.example.com.cn。", "联系<email>。"),
        ("电话13912345678，", "电话<phone>，"),
        ("+86 139-1234-5678", "<phone>"),
        ("身份证11010519491231002X。", "身份证<identity>。"),  # the example of GB 11643-1999
        ("来自 8.8.114.4 的请求", "来自 <ip> 的请求"),
        ("sk-proj-" + "a1B2" * 10, "<key>"),
        ("AKIAIOSFODNN7EXAMPLE", "<key>"),
        ("ghp_" + "x" * 36, "<key>"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            "<key>",
        ),
    ],
)
def test_what_is_replaced(text: str, after: str) -> None:
    assert redacted(text) == (after, {after.split("<")[1].split(">")[0]: 1})


@pytest.mark.parametrize(
    "text",
    [
        "订单号 139123456789012",  # too long for a phone number
        "圆周率 3.14159265358979",
        "110105194912310021",  # a wrong check digit
        "##### 1.1.2.1 动态图，见 10.4.2.17 节",
        "版本 1.2.3.4.5 和 127.0.0.1 和 192.168.1.1 和 10.0.0.7",
        "@某人 a@b",
        "日期 2021-10-13 12:30",
        "sk-learn",
    ],
)
def test_what_stays(text: str) -> None:
    assert redacted(text) == (text, {})


def test_kinds_are_switched_one_by_one() -> None:
    text = "a@b.cn 13912345678 8.8.88.8"
    assert redacted(text, ("ip",)) == ("a@b.cn 13912345678 <ip>", {"ip": 1})
    assert redacted(text, ()) == (text, {})
    assert redacted(text)[1] == {"email": 1, "phone": 1, "ip": 1}


@given(st.from_regex(r"\A[1-9][0-9]{16}\Z"))
def test_exactly_one_check_digit_fits(number: str) -> None:
    fitting = [last for last in "0123456789X" if valid_identity(number + last)]
    assert len(fitting) == 1


@given(st.lists(st.sampled_from(["13912345678", "8.8.88.8", "a@b.cn", "-", ".", "。", " ", "86"])))
def test_a_second_pass_finds_nothing(parts: list[str]) -> None:
    once, _ = redacted("".join(parts))
    assert redacted(once) == (once, {})


@given(st.text("0139.- 8@a"))
def test_the_quick_test_passes_every_match(text: str) -> None:
    """The kernel's flags only save time: with every pattern tried the result is the same."""
    found = {kind for kind in ("phone", "ip", "email") if PATTERNS[kind].search(text)}
    harmless = {"ip"}  # private addresses match and stay
    assert found - harmless <= set(redacted(text)[1])
