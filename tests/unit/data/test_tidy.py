"""Conversations cleaned, and their duplicates left out."""

from __future__ import annotations

from langraft.data.conversations import Conversation, Message
from langraft.data.tidy import cleaned, without_duplicates
from langraft.recipe import Clean, Dedup, MinHash

LONG = (
    "三原色是红、黄、蓝三种颜色，它们不能由其他颜色混合得到，"
    "而其他颜色都可以由它们按不同比例混合得到。"
)


def talk(question: str, answer: str, line: int = 0) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)), "a.json", line)


def test_messages_are_cleaned_one_by_one() -> None:
    found = cleaned([talk("ＡＢＣ？", "好\u200b的\r\n\r\n\r\n\r\n是"), talk("d", "ﬁ", 7)], Clean())
    assert [[m.content for m in c.messages] for c in found] == [
        ["ABC？", "好的\n\n是"],
        ["d", "fi"],
    ]
    assert found[1].line == 7 and found[0].messages[0].role == "user"


def test_the_first_of_equal_conversations_stays() -> None:
    same = [talk("问", "答", 1), talk("问 ", "答\n", 2), talk("问", "另一个答", 3)]
    assert [c.line for c in without_duplicates(same, Dedup())] == [1, 3]
    assert len(without_duplicates(same, Dedup(exact=False))) == 3


def test_nearly_equal_ones_go_with_minhash() -> None:
    near = [talk("什么是三原色？", LONG, 1), talk("什么是三原色？", LONG + "是的。", 2)]
    near += [talk("什么是三原色？", "不知道。", 3), talk("", "", 4), talk("嗯", "", 5)]
    assert len(without_duplicates(near, Dedup())) == 5
    kept = without_duplicates(near, Dedup(minhash=MinHash()))
    assert [c.line for c in kept] == [1, 3, 4, 5]
