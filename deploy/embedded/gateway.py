"""One port for all services: `/api/<service>/…` by prefix, a start page and the API pages; nothing from elsewhere."""

import html
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.problems import NotFound, problem_response

STYLE = (
    "body{font:16px/1.5 system-ui;max-width:60rem;margin:3rem auto;padding:0 1rem}code{background:#f3f3f3;padding:.1rem .3rem}"
    "table{border-collapse:collapse;width:100%}td{border-bottom:1px solid #ddd;padding:.3rem .6rem;vertical-align:top}"
)


class Gateway:
    """Routes public requests; internal routes, health and metrics are on another port and never here."""

    def __init__(self, apps: Mapping[str, Any]) -> None:
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        parts = scope["path"].split("/", 3)
        app: ASGIApp | None = self._apps.get(parts[2]) if scope["path"].startswith("/api/") and len(parts) > 3 else None
        if app is None:
            app = self._page(Request(scope))
        await app(scope, receive, send)

    def _page(self, request: Request) -> Response:
        path = request.url.path
        if path == "/":
            links = "".join(f'<li><a href="/docs/{name}">{name}</a></li>' for name in self._apps)
            return _html("cowork", f"<h1>cowork</h1><p>The services' APIs:</p><ul>{links}</ul>")
        name = path.removeprefix("/docs/")
        if path.startswith("/docs/") and name in self._apps:
            return _html(name, _api_page(self._apps[name].openapi()))
        return problem_response(NotFound())


class InternalGateway:
    """The second, loopback-only port: `/<service>/internal/…` to that service's internal app."""

    def __init__(self, apps: Mapping[str, ASGIApp]) -> None:
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        _, name, rest = ([*scope["path"].split("/", 2), "", ""])[:3]
        app = self._apps.get(name)
        if app is None:
            await problem_response(NotFound())(scope, receive, send)
            return
        path = f"/{rest}"
        await app({**scope, "path": path, "raw_path": path.encode()}, receive, send)


def _api_page(openapi: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{method.upper()}</code><td><code>{html.escape(path)}</code><td>{html.escape(_about(operation))}</tr>"
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    ]
    title = html.escape(openapi["info"]["title"])
    name = title.removeprefix("cowork ")
    return f'<h1>{title}</h1><p><a href="/api/{name}/openapi.json">OpenAPI 3.1</a></p><table>{"".join(rows)}</table>'


def _about(operation: dict[str, Any]) -> str:
    return str(operation.get("description") or operation.get("summary") or "")


def _html(title: str, body: str) -> HTMLResponse:
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    content = f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>{body}'
    return HTMLResponse(content, headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"})
