"""A mail catcher for demonstrations: takes every mail, sends none on, shows them on a page; memory only."""

import email.policy
from collections import deque
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from html import escape
from typing import Any

from aiosmtpd.controller import Controller
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

KEPT = 500
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Mailbox</title><style>body{{font:16px/1.5 system-ui;max-width:46rem;margin:2rem auto;padding:0 1rem}}
article{{border-top:1px solid #ccc;padding:1rem 0}}pre{{white-space:pre-wrap;font:inherit}}</style>
<h1>Mailbox</h1><p>{count} mails, the newest first. None of them has left this machine.</p>{mails}</html>"""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as its reader sees it: plain text."""

    to: str
    subject: str
    text: str


class Mailbox:
    """`start()` … `stop()` the SMTP side; `app` is the HTTP side: `/`, `/latest?to=` and `/readyz`."""

    def __init__(self, *, host: str, smtp_port: int) -> None:
        self._mails: deque[Mail] = deque(maxlen=KEPT)
        self._controller = Controller(self, hostname=host, port=smtp_port, ready_timeout=10)
        routes = [Route("/", self._page), Route("/latest", self._latest), Route("/readyz", self._ready)]
        self.app = Starlette(routes=routes)

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        message = BytesParser(_class=EmailMessage, policy=email.policy.default).parsebytes(envelope.content)
        body = message.get_body(("plain",))
        text = body.get_content() if body is not None else ""
        for to in envelope.rcpt_tos:
            self._mails.appendleft(Mail(to, str(message["Subject"]), text))
        return "250 kept"

    async def _page(self, _: Request) -> HTMLResponse:
        shown = [
            f"<article><b>{escape(mail.subject)}</b><br>{escape(mail.to)}<pre>{escape(mail.text)}</pre></article>"
            for mail in list(self._mails)
        ]
        return HTMLResponse(PAGE.format(count=len(shown), mails="".join(shown)))

    async def _latest(self, request: Request) -> JSONResponse:
        """The newest mail to an address: `{"subject", "text"}`, or 404."""
        wanted = request.query_params.get("to", "")
        # The SMTP side adds to it from a thread of its own.
        for mail in list(self._mails):
            if mail.to == wanted:
                return JSONResponse({"subject": mail.subject, "text": mail.text})
        return JSONResponse({"code": "not_found"}, status_code=404)

    async def _ready(self, _: Request) -> JSONResponse:
        return JSONResponse({"status": "ready"})
