"""What people read in a browser: policy, case, certificate; French or English, without script or third party."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
STYLE = "body{font:16px/1.5 system-ui;max-width:46rem;margin:3rem auto;padding:0 1rem}table{border-collapse:collapse}td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left}"  # noqa: E501
WORDS: dict[str, dict[str, str]] = {
    "fr": {
        "case": "Suivi d'un effacement", "state": "État", "service": "Service", "outcome": "Réponse",
        "retained": "Conservé", "ground": "Motif", "until": "Jusqu'au", "count": "Nombre", "open": "jusqu'au règlement",
        "due": "À terminer au plus tard le", "done": "Terminé le", "certificate": "Attestation d'effacement",
        "backups": "Les sauvegardes expirent en {days} jours au plus ; une restauration rejoue d'abord les effacements.",
        "none": "rien",
        "cnil": "Vous pouvez adresser une réclamation à la CNIL (www.cnil.fr) et former un recours juridictionnel.",
    },
    "en": {
        "case": "Progress of an erasure", "state": "State", "service": "Service", "outcome": "Answer",
        "retained": "Retained", "ground": "Ground", "until": "Until", "count": "Count", "open": "until it is settled",
        "due": "To be completed by", "done": "Completed on", "certificate": "Certificate of erasure",
        "backups": "Backups expire after {days} days at most; a restore replays the erasures first.",
        "none": "nothing",
        "cnil": "You can complain to the CNIL (www.cnil.fr) and seek a judicial remedy.",
    },
}  # fmt: skip


def page(title: str, body: str, *, language: str) -> str:
    """Return a whole HTML page around a body that is safe already."""
    return (
        f'<!doctype html><html lang="{language}"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><main>{body}</main></html>"
    )


def policy_page(markdown: str, *, language: str) -> str:
    title = markdown.lstrip("# ").split("\n", 1)[0]
    return page(title, _markdown.render(markdown), language=language)


def case_page(case: Mapping[str, Any], *, language: str) -> str:
    """Return the page of a case's public status: a line per service, what is retained, no personal data."""
    words = WORDS[language]
    title = words["certificate"] if case.get("digest") else words["case"]
    rows = "".join(_row([a["service"], a["outcome"] or "…", _retained(a["retained"], words)]) for a in case["answers"])
    ends = words["done"] if case["completed_at"] else words["due"]
    body = (
        f"<h1>{title}</h1><p>{words['state']}: <strong>{html.escape(case['state'])}</strong></p>"
        f"<p>{ends} {str(case['completed_at'] or case['due_on'])[:10]}</p>"
        f"<table><tr><th>{words['service']}<th>{words['outcome']}<th>{words['retained']}</tr>{rows}</table>"
    )
    if case.get("digest"):
        body += f"<p>{words['backups'].format(days=case['backup_days'])}</p><p><code>{case['digest']}</code></p>"
    return page(title, body, language=language)


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in cells) + "</tr>"


def _retained(retained: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> str:
    listed = [f"{r['count']} × {r['rule']}: {r['ground']}, {r['until'] or words['open']}" for r in retained]
    return "; ".join(listed) or words["none"]
