"""The generated blocks of the READMEs, the subscribers and the AsyncAPI document; `make map` writes them."""

import importlib
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from deploy.suite import settings_class
from shared.bus.contracts import EVENTS
from shared.events import SERVICES
from shared.migrate import ROOT, metadata_of
from shared.privacy.manifest import Manifest
from shared.service import Service
from shared.settings import SuiteSettings

Rendered = dict[Path, str]
SUBSCRIBERS = ROOT / "shared" / "events" / "subscribers.py"
ASYNCAPI = ROOT / "docs" / "asyncapi.json"


def unstarted(name: str) -> Service:
    """Return a service, wired with values that lead nowhere: nothing is connected by looking at it."""
    secrets = ("client_secret", "digest_key", "key_secret", "operator_secret", "ledger_key", "ledger_url")
    filler: dict[str, Any] = dict.fromkeys(secrets, "x" * 64)
    settings = settings_class(name)(
        suite=SuiteSettings(files_url="s3://nowhere/files"),
        database_url="postgresql+asyncpg://nobody@127.0.0.1:9/nothing",
        **filler,
    )
    service: Service = importlib.import_module(f"services.{name}.app").create_service(settings)
    return service


def render_all() -> Rendered:
    """Return every generated file with its whole content as it should be."""
    services = {name: unstarted(name) for name in SERVICES}
    consumed = {name: service.consumers.types() for name, service in services.items()}
    rendered: Rendered = {SUBSCRIBERS: _subscribers(consumed), ASYNCAPI: _asyncapi(consumed)}
    for name, service in services.items():
        readme = ROOT / "services" / name / "README.md"
        rendered[readme] = _between(readme.read_text(), "generated", _service_block(service, consumed[name]))
    readme = ROOT / "README.md"
    content = _between(readme.read_text(), "map", _services_map())
    rendered[readme] = _between(content, "events", _events_matrix(consumed))
    return rendered


def stale() -> list[str]:
    """Return the generated files whose content is not what it should be."""
    return [
        str(p.relative_to(ROOT)) for p, content in render_all().items() if not p.exists() or p.read_text() != content
    ]


def _between(content: str, mark: str, block: str) -> str:
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.S)
    return pattern.sub(lambda found: f"{found.group(1)}{block}\n{found.group(2)}", content)


def _services_map() -> str:
    lines = ["| Service | What it does |", "|---|---|"]
    for name in SERVICES:
        words = (ROOT / "services" / name / "README.md").read_text().split("\n\n", 2)[1]
        lines.append(f"| [{name}](services/{name}) | {words.splitlines()[0]} |")
    return "\n".join(lines)


def _events_matrix(consumed: dict[str, list[str]]) -> str:
    """One line per event; receipts and manifests, which every service publishes, are one line each."""
    lines = ["| Event | " + " | ".join(SERVICES) + " |", "|---" * (len(SERVICES) + 1) + "|"]
    common: dict[str, list[str]] = defaultdict(list)
    for event in sorted(EVENTS):
        owner, rest = event.split(".", 1)
        if rest in ("account.erased.v1", "tenant.erased.v1", "manifest.published.v1"):
            common[rest].append(event)
            continue
        cells = ["●" if name == owner else "→" if event in consumed[name] else "" for name in SERVICES]
        lines.append(f"| `{event}` | " + " | ".join(cells) + " |")
    for rest, events in common.items():
        cells = ["● →" if any(e in consumed[name] for e in events) else "●" for name in SERVICES]
        lines.append(f"| `*.{rest}` | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "● publishes, → reacts."])


def _service_block(service: Service, consumed: list[str]) -> str:
    published = sorted(event for event in EVENTS if event.startswith(f"{service.name}."))
    parts = ["## API", "", *_routes(service), "", "## Events", ""]
    parts += ["Publishes " + ", ".join(f"`{event}`" for event in published) + ".", ""]
    parts += ["Reacts to " + ", ".join(f"`{event}`" for event in consumed) + ".", ""]
    return "\n".join([*parts, "## Personal data", "", *_personal_data(service.name)])


def _routes(service: Service) -> list[str]:
    lines = ["| | | |", "|---|---|---|"]
    for path, operations in service.public_app().openapi()["paths"].items():
        for method, operation in operations.items():
            about = (operation.get("description") or operation.get("summary") or "").splitlines()[0]
            lines.append(f"| {method.upper()} | `{path}` | {about} |")
    return lines


def _personal_data(name: str) -> list[str]:
    lines = ["| Table | Column | Category | At erasure | Kept |", "|---|---|---|---|---|"]
    for table in Manifest.of(name, metadata_of(name)).content()["tables"]:
        for column in table["columns"]:
            if "category" in column:
                row = (table["table"], column["column"], column["category"], column["erase"], column["keep"])
                lines.append("| " + " | ".join(row) + " |")
    return lines


def _subscribers(consumed: dict[str, list[str]]) -> str:
    lines = [
        '"""Who subscribes to which event; generated by `make map`, and a test fails when it is stale.',
        "",
        "A service's image holds no other service's code, but its relay has to know which events nobody misses.",
        '"""',
        "",
        "SUBSCRIBERS: dict[str, tuple[str, ...]] = {",
    ]
    for event in sorted({event for events in consumed.values() for event in events}):
        names = [f'"{name}"' for name in SERVICES if event in consumed[name]]
        if len(names) == 1:
            lines.append(f'    "{event}": ({names[0]},),')
            continue
        lines += [f'    "{event}": (', *(f"        {name}," for name in names), "    ),"]
    return "\n".join([*lines, "}", ""])


def _asyncapi(consumed: dict[str, list[str]]) -> str:
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for event in sorted(EVENTS):
        channels[event] = {"address": event, "messages": {"event": {"$ref": f"#/components/messages/{event}"}}}
        schema = EVENTS[event].model_json_schema()
        messages[event] = {"name": event, "contentType": "application/cloudevents+json", "payload": schema}
        operations[f"publish.{event}"] = {"action": "send", "channel": {"$ref": f"#/channels/{event}"}}
        for name in SERVICES:
            if event in consumed[name]:
                operation = {"action": "receive", "channel": {"$ref": f"#/channels/{event}"}}
                operations[f"{name}.{event}"] = operation
    document = {
        "asyncapi": "3.0.0",
        "info": {"title": "cowork events", "version": "1"},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def main() -> None:
    for path, content in render_all().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


if __name__ == "__main__":
    main()
