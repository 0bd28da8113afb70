"""`cowork privacy manifest|register`: what each service holds, read from its models' marks."""

import importlib
import json
import sys
from typing import Literal

from services.privacy.register import register_of, to_markdown
from shared.events import SERVICES
from shared.migrate import metadata_of
from shared.privacy.hooks import Store
from shared.privacy.manifest import Manifest


def manifests() -> list[Manifest]:
    """Return every service's manifest; no database is needed, the marks are in the code."""
    return [Manifest.of(name, metadata_of(name), _stores(name)) for name in SERVICES]


def _stores(name: str) -> tuple[Store, ...]:
    module = importlib.import_module(f"services.{name}.personal_data")
    found = getattr(module, "PERSONAL_DATA", None) or module.personal_data
    stores: tuple[Store, ...] = found.stores
    return stores


def manifest(service: str | None = None) -> int:
    """Print the manifest of a service, or of all, as JSON."""
    found = [one.content() for one in manifests() if service in (None, one.service)]
    if not found:
        sys.stderr.write(f"there is no service of this name: {', '.join(SERVICES)}\n")
        return 4
    sys.stdout.write(json.dumps(found if service is None else found[0], indent=2) + "\n")
    return 0


def register(*, language: Literal["fr", "en"] = "en") -> int:
    """Print the Article 30 register as Markdown."""
    entries = register_of([one.content() for one in manifests()])
    sys.stdout.write(to_markdown(entries, language) + "\n")
    return 0
