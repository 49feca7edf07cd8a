"""Wikipedia's XML dumps: articles as plain text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
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
    _drop_sections(code)
    _strip_all(code)
    text = code.strip_code(normalize=True, collapse=True)
    text = _EMPTY_BRACKETS.sub("", _INDENT.sub("", text))
    lines = "\n".join(line.strip() for line in text.split("\n"))
    return _BLANKS.sub("\n\n", lines).strip()


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


def _drop_sections(code: Any) -> None:
    for section in code.get_sections(levels=[2, 3]):
        headings = section.filter_headings()
        if headings and str(headings[0].title).strip().lower() in DROPPED_SECTIONS:
            for node in list(section.nodes):
                if node in code.nodes:
                    code.remove(node)


def _strip(code: Any, node: Any) -> None:
    """Remove what is not the article's text from `code`, in the nodes below `node` too."""
    from mwparserfromhell import nodes

    if isinstance(node, nodes.Template):
        place = KEPT_TEMPLATES.get(str(node.name).strip().lower().replace("_", " "))
        kept = _parameter(node, place) if place else ""
        code.replace(node, kept) if kept else code.remove(node)
    elif isinstance(node, nodes.Tag):
        if str(node.tag).lower() in DROPPED_TAGS:
            code.remove(node)
        elif node.contents is not None:
            _strip_all(node.contents)
    elif isinstance(node, nodes.Wikilink):
        if _is_media(str(node.title)):
            code.remove(node)
        elif node.text is not None:
            _strip_all(node.text)


def _strip_all(code: Any) -> None:
    for node in code.filter(recursive=False):
        _strip(code, node)


def _parameter(template: Any, place: int) -> str:
    """The text of a template's parameter, counted from 1, or from the end if negative."""
    values = [parameter for parameter in template.params if not parameter.showkey]
    if place > len(values) or not values:
        return ""
    chosen = values[place - 1] if place > 0 else values[place]
    return plain(str(chosen.value))


def _is_media(title: str) -> bool:
    """Whether a link shows a file or names a category instead of leading to an article."""
    space = title.partition(":")[0].strip().lower() if ":" in title[1:] else ""
    return space in {
        *("file", "image", "category", "media", "文件", "檔案", "图像", "圖像", "分类", "分類"),
        *("ファイル", "画像", "datei", "kategorie", "fichier", "catégorie", "archivo", "categoría"),
        *("файл", "категория", "wikipedia", "template", "portal"),
    }
