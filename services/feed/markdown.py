"""Markdown to safe HTML: rendered by markdown-it, sanitized by nh3, mentions filled in last."""

import html
import re
from collections.abc import Mapping

import nh3
from markdown_it import MarkdownIt

MENTION = re.compile(r"@\{mention:(\d{1,3})\}")
_TAGS = {"p", "br", "strong", "em", "del", "code", "pre", "blockquote", "ul", "ol", "li", "a", "h1", "h2", "h3", "hr"}
_markdown = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("strikethrough")


def mention_numbers(body: str) -> set[int]:
    """Return the n of every `@{mention:n}` in a text."""
    return {int(n) for n in MENTION.findall(body)}


def to_html(body: str, names: Mapping[int, str]) -> str:
    """Return a text as HTML without scripts, styles, images or foreign attributes; `names` by mention number."""
    clean = nh3.clean(
        _markdown.render(body),
        tags=_TAGS,
        attributes={"a": {"href"}},
        url_schemes={"https", "http", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )

    def name(match: re.Match[str]) -> str:
        known = names.get(int(match.group(1)))
        return f"<span>@{html.escape(known)}</span>" if known else ""

    return MENTION.sub(name, clean)
