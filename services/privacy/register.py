"""The Article 30 register and the data map, read from the manifests that the services derive from their marks."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

HEADS = {
    "fr": ["Service", "Finalité", "Base légale", "Catégories", "Conservation", "À l'effacement", "Destinataires"],
    "en": ["Service", "Purpose", "Legal basis", "Categories", "Kept", "At erasure", "Recipients"],
}
NOBODY = {"fr": "aucun tiers", "en": "no third party"}


def register_of(manifests: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one entry per service, purpose, basis and retention, with its data categories."""
    found: dict[tuple[str, str, str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for manifest in manifests:
        for table in manifest["tables"]:
            for column in table["columns"]:
                if "category" not in column:
                    continue
                key = manifest["service"], column["purpose"], column["basis"], column["keep"]
                found[key]["categories"].add(column["category"])
                found[key]["erase"].add(column["erase"])
    return [
        {
            "service": service,
            "purpose": purpose,
            "basis": basis,
            "keep": keep,
            "categories": sorted(sets["categories"]),
            "erase": sorted(sets["erase"]),
        }
        for (service, purpose, basis, keep), sets in sorted(found.items())
    ]


def to_markdown(entries: Iterable[dict[str, Any]], language: str) -> str:
    """Return the register as a table."""
    rows = [
        [
            e["service"],
            e["purpose"],
            e["basis"],
            ", ".join(e["categories"]),
            e["keep"],
            ", ".join(e["erase"]),
            NOBODY[language],
        ]
        for e in entries
    ]
    lines = [HEADS[language], ["---"] * len(HEADS[language]), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
