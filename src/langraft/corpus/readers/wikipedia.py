"""Wikipedia's XML dumps: articles as plain text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import open_binary
from langraft.corpus.readers.records import Flaw, Record

# Templates whose text is part of a sentence: which parameter holds it. Every other one goes: boxes,
# notes, navigation, citations.
KEPT_TEMPLATES = {
    "lang": 2, "nowrap": 1, "nobr": 1, "transl": -1, "transliteration": -1, "le": 1,
    "link-en": 1, "tsl": 3, "ill": 1, "illm": 1, "interlanguage link": 1,
    "internal link helper": 1, "zy": 1, "ruby": 1, "rubyja": 1, "small": 1, "big": 1, "abbr": 1,
    "zh": 1, "jp": 1, "nihongo": 1, "korean": 1, "bd": 1, "sub": 1, "sup": 1, "color": 2,
    "convert": 1, "cvt": 1, "val": 1, "formatnum": 1, "start date": 1, "circa": 1,
}  # fmt: skip
DROPPED_TAGS = {
    *("ref", "references", "table", "gallery", "math", "chem", "timeline", "imagemap", "score"),
    *("hiero", "syntaxhighlight", "source", "graph", "mapframe", "templatestyles"),
}
# Sections that list things instead of telling them, by their headings in the larger editions.
DROPPED_SECTIONS = {
    *("references", "external links", "see also", "further reading", "notes", "bibliography"),
    *("参考文献", "參考文獻", "参考资料", "參考資料", "外部链接", "外部連結", "外部链結", "参见"),
    *("參見", "参看", "參看", "延伸阅读", "延伸閱讀", "注释", "註釋", "注釋", "脚注", "腳註"),
    *("备注", "備註", "相关条目", "相關條目", "参考来源", "資料來源", "资料来源", "扩展阅读"),
    *("関連項目", "外部リンク", "脚注", "出典", "einzelnachweise", "weblinks", "literatur"),
    *("notes et références", "liens externes", "voir aussi", "referencias", "enlaces externos"),
    *("véase también", "примечания", "ссылки", "литература", "см. также"),
}
# Link prefixes of files, categories and pages that are no articles.
MEDIA = {
    *("file", "image", "category", "media", "文件", "檔案", "图像", "圖像", "分类", "分類"),
    *("ファイル", "画像", "datei", "kategorie", "fichier", "catégorie", "archivo", "categoría"),
    *("файл", "категория", "wikipedia", "template", "portal"),
}
_REDIRECT = re.compile(r"\s*#\s*(redirect|重定向|转向|転送|weiterleitung|перенаправление)", re.I)
# -{zh-hans:计算机;zh-hant:電腦}- writes one word for every region
_VARIANTS = re.compile(r"-\{(?:[A-Z]\|)?([^{}]*)\}-")
_MAGIC = re.compile(r"__[A-Z]+__")
_INDENT = re.compile(r"^[:*#;]+[ \t]*", re.M)
_EMPTY_BRACKETS = re.compile(r"[（(][\s，,、；;:：]*[）)]")
_BLANKS = re.compile(r"\n{3,}")
LONGEST = 4_000_000  # characters of wikitext: no article has more; MediaWiki's own limit is 2 MiB


def pages(path: Path, _: str) -> Iterator[Record | Flaw]:
    """The articles (namespace 0, no redirects) of a dump, each the title, a blank line, the text.

    Raises:
        BadInput: the file is not well-formed XML; the message names the line.
    """
    number = 0
    with open_binary(path) as stream:
        events = ElementTree.iterparse(stream, ("start", "end"))
        try:
            _, root = next(events)
            if _name(root) != "mediawiki":
                raise BadInput(
                    f"{path}: the root element is <{_name(root)}>; of XML files, langraft reads "
                    "Wikipedia's dumps (<mediawiki>)"
                )
            for event, element in events:
                if event == "start" or _name(element) != "page":
                    continue
                number += 1
                text = _article(element)
                root.clear()  # else every page stays in memory
                if isinstance(text, str):
                    yield Flaw(number, text)
                elif text:
                    yield Record("\n\n".join(text), number)
        except ElementTree.ParseError as error:
            raise BadInput(f"{path}: not well-formed XML ({error})") from error


def _name(element: Any) -> str:
    """The tag without its namespace, which differs from one export version to the next."""
    return str(element.tag).rpartition("}")[2]


def _article(page: Any) -> tuple[str, str] | str | None:
    """Title and plain text; nothing for a redirect or a page of another namespace; a str says what
    is wrong.
    """
    found = {_name(child): child for child in page}
    fields = {_name(child): child for child in found.get("revision", ())}
    if "title" not in found or "text" not in fields:
        return "a page without title or text"
    source = fields["text"].text or ""
    namespace = found["ns"].text if "ns" in found else "0"
    if namespace != "0" or "redirect" in found or _REDIRECT.match(source):
        return None
    if len(source) > LONGEST:
        return f"an article of {len(source):,} characters"
    text = plain(source)
    return (found["title"].text or "", text) if text else None


def plain(source: str) -> str:
    """Wikitext as plain text: the article's own sentences, without boxes, notes, tables, media,
    categories and the sections in `DROPPED_SECTIONS`.
    """
    import mwparserfromhell  # only dumps need it

    code = mwparserfromhell.parse(_VARIANTS.sub(_variant, _MAGIC.sub("", source)))
    text = "".join(map(_words, _told(code.nodes)))
    text = _EMPTY_BRACKETS.sub("", _INDENT.sub("", text))
    lines = "\n".join(line.strip() for line in text.split("\n"))
    return _BLANKS.sub("\n\n", lines).strip()


def _told(nodes: Iterable[Any]) -> Iterator[Any]:
    """The nodes outside the dropped sections; a section ends at a heading of its level or above."""
    from mwparserfromhell.nodes import Heading

    level = 0
    for node in nodes:
        if isinstance(node, Heading):
            if level and node.level > level:
                continue
            level = node.level if str(node.title).strip().lower() in DROPPED_SECTIONS else 0
        if not level:
            yield node


def _words(node: Any) -> str:
    """What of a node a reader of the article reads as its text."""
    kind = type(node).__name__
    if kind == "Text":
        return str(node.value)
    if kind == "Wikilink":
        title = str(node.title)
        return "" if _is_media(title) else _inside(node.text) if node.text else title
    if kind == "Template":
        return _parameter(node)
    if kind == "Tag":
        return "" if str(node.tag).strip().lower() in DROPPED_TAGS else _inside(node.contents)
    if kind == "ExternalLink":
        return _inside(node.title) if node.brackets else str(node.url)
    if kind == "Heading":
        return _inside(node.title)
    if kind == "HTMLEntity":
        return str(node.normalize())
    return ""  # comments and the arguments of templates


def _inside(code: Any) -> str:
    return "".join(map(_words, code.nodes)) if code is not None else ""


def _variant(match: re.Match[str]) -> str:
    """The first choice of a conversion: mainland Chinese where it is named."""
    whole = str(match[1])
    choices = dict(part.split(":", 1) for part in whole.split(";") if ":" in part)
    if not choices:
        return whole
    for region in ("zh-hans", "zh-cn", "zh"):
        if region in choices:
            return choices[region].strip()
    return next(iter(choices.values())).strip()


def _parameter(template: Any) -> str:
    """The text of the parameter that a kept template shows: counted from 1, or from the end if
    negative.
    """
    place = KEPT_TEMPLATES.get(str(template.name).strip().lower().replace("_", " "))
    values = [parameter for parameter in template.params if not parameter.showkey]
    if place is None or abs(place) > len(values):
        return ""
    return _inside((values[place - 1] if place > 0 else values[place]).value)


def _is_media(title: str) -> bool:
    """Whether a link shows a file or names a category instead of leading to an article."""
    return ":" in title[1:] and title.partition(":")[0].strip().lower() in MEDIA
