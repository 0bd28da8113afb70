"""A mail's words: French or English, text and HTML, from templates that fail loudly on a missing variable."""

import html
import tomllib
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from services.notify.kinds import Kind
from services.notify.local_time import Calendar

TEMPLATES = Path(__file__).parent / "templates"
_environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


@cache
def words(language: str) -> dict[str, Any]:
    """Return the templates of a language."""
    return tomllib.loads((TEMPLATES / f"words.{language}.toml").read_text())


def compose(
    kind: Kind,
    *,
    language: str,
    zone: ZoneInfo,
    about: dict[str, Any],
    url: str,
    delivery_id: UUID,
    sender: str,
    recipient: str,
    unsubscribe_url: str | None,
) -> EmailMessage:
    """Return the mail, its times in `zone`. Its Message-ID is the delivery's: a mail sent again is the same mail.

    `unsubscribe_url` adds the headers of RFC 8058; mandatory kinds have none.
    """
    spoken = words(language)
    template = spoken["link"][about["purpose"]] if kind is Kind.LINK else spoken[kind]
    says = Calendar(spoken, zone)
    body = _environment.from_string(template["body"]).render(about=about, url=url, day=says.day, instant=says.instant)
    lines = [spoken["hello"], "", body, ""]
    if kind is not Kind.LINK:
        lines += [url, ""]
    lines += ["—", spoken["why"]]
    if unsubscribe_url is not None:
        lines += [spoken["stop"], unsubscribe_url]
    mail = EmailMessage()
    mail["Subject"] = template["subject"]
    mail["From"], mail["To"] = sender, recipient
    mail["Message-ID"] = f"<{delivery_id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    if unsubscribe_url is not None:
        mail["List-Unsubscribe"] = f"<{unsubscribe_url}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    text = "\n".join(lines)
    mail.set_content(text)
    mail.add_alternative(_to_html(text, language), subtype="html")
    return mail


def _to_html(text: str, language: str) -> str:
    linked = []
    for line in text.splitlines():
        escaped = html.escape(line)
        linked.append(f'<a href="{escaped}">{escaped}</a>' if line.startswith(("http://", "https://")) else escaped)
    return f'<!doctype html><html lang="{language}"><body><p>{"<br>".join(linked)}</p></body></html>'
