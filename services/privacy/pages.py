"""What people read in a browser: policy, case, certificate; French or English, without script or third party."""

import html
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from markdown_it import MarkdownIt

from services.privacy.models import CaseState
from shared.events.erasure import Outcome

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
STYLE = "body{font:16px/1.5 system-ui;max-width:46rem;margin:3rem auto;padding:0 1rem}table{border-collapse:collapse}td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left}"  # noqa: E501
WORDS: dict[str, dict[str, str]] = {
    "fr": {
        "case": "Suivi d'un effacement", "state": "État", "service": "Service", "outcome": "Réponse",
        "retained": "Conservé", "ground": "Motif", "until": "Jusqu'au", "count": "Nombre", "open": "jusqu'au règlement",
        "due": "À terminer au plus tard le", "done": "Terminé le", "certificate": "Attestation d'effacement",
        "backups": "Les sauvegardes expirent en {days} jours au plus ; une restauration rejoue d'abord les effacements.",
        "none": "rien", "coming": "Une nouvelle version prend effet le {day}.",
        "cnil": "Vous pouvez adresser une réclamation à la CNIL (www.cnil.fr) et former un recours juridictionnel.",
    },
    "en": {
        "case": "Progress of an erasure", "state": "State", "service": "Service", "outcome": "Answer",
        "retained": "Retained", "ground": "Ground", "until": "Until", "count": "Count", "open": "until it is settled",
        "due": "To be completed by", "done": "Completed on", "certificate": "Certificate of erasure",
        "backups": "Backups expire after {days} days at most; a restore replays the erasures first.",
        "none": "nothing", "coming": "A new version takes effect on {day}.",
        "cnil": "You can complain to the CNIL (www.cnil.fr) and seek a judicial remedy.",
    },
}  # fmt: skip
# What states, answers, grounds and retained tables are called for people, by the value that programs use.
VALUES: dict[str, dict[str, str]] = {
    "fr": {
        CaseState.AWAITING_RECEIPTS: "en attente des réponses", CaseState.VERIFYING: "vérification en cours",
        CaseState.REMEDIATING: "effacement à compléter", CaseState.ON_HOLD: "suspendu pour un motif légal",
        CaseState.COMPLETED: "terminé",
        CaseState.COMPLETED_WITH_RETENTION: "terminé, sauf ce que la loi oblige à conserver",
        Outcome.DONE: "effacé", Outcome.RETAINED: "effacé, sauf ce qui est conservé",
        Outcome.NOTHING_HELD: "aucune donnée détenue", Outcome.ON_HOLD: "suspendu pour un motif légal",
        Outcome.FAILED: "échec, une nouvelle tentative suit", "awaited": "attendue",
        "legal_archive": "archivage légal", "open_claim": "créance non réglée",
        "documents": "factures et avoirs", "quotes": "devis", "claims": "créances",
    },
    "en": {
        CaseState.AWAITING_RECEIPTS: "waiting for answers", CaseState.VERIFYING: "being verified",
        CaseState.REMEDIATING: "something is left to erase", CaseState.ON_HOLD: "on hold for a legal reason",
        CaseState.COMPLETED: "completed",
        CaseState.COMPLETED_WITH_RETENTION: "completed, but for what the law says to keep",
        Outcome.DONE: "erased", Outcome.RETAINED: "erased, but for what is retained",
        Outcome.NOTHING_HELD: "nothing was held", Outcome.ON_HOLD: "on hold for a legal reason",
        Outcome.FAILED: "failed, to be tried again", "awaited": "awaited",
        "legal_archive": "legal archive", "open_claim": "open claim",
        "documents": "invoices and credit notes", "quotes": "quotes", "claims": "claims",
    },
}  # fmt: skip


def page(title: str, body: str, *, language: str) -> str:
    """Return a whole HTML page around a body that is safe already."""
    return (
        f'<!doctype html><html lang="{language}"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><main>{body}</main></html>"
    )


def policy_page(markdown: str, *, language: str, coming: tuple[int, date] | None = None) -> str:
    """Return a policy's page; `coming` is the number of the version announced and the day on which it takes effect."""
    title = markdown.lstrip("# ").split("\n", 1)[0]
    announced = ""
    if coming is not None:
        number, day = coming
        announced = f'<p><a href="policy/{number}">{WORDS[language]["coming"].format(day=day)}</a></p>'
    return page(title, announced + _markdown.render(markdown), language=language)


def case_page(case: Mapping[str, Any], *, language: str) -> str:
    """Return the page of a case's public status: a line per service, what is retained, no personal data."""
    words = WORDS[language]
    title = words["certificate"] if case.get("digest") else words["case"]
    rows = "".join(
        _row([a["service"], _called(a["outcome"] or "awaited", language), _retained(a["retained"], language)])
        for a in case["answers"]
    )
    ends = words["done"] if case["completed_at"] else words["due"]
    body = (
        f"<h1>{title}</h1><p>{words['state']}: <strong>{html.escape(_called(case['state'], language))}</strong></p>"
        f"<p>{ends} {str(case['completed_at'] or case['due_on'])[:10]}</p>"
        f"<table><tr><th>{words['service']}<th>{words['outcome']}<th>{words['retained']}</tr>{rows}</table>"
    )
    if case.get("digest"):
        body += f"<p>{words['backups'].format(days=case['backup_days'])}</p><p><code>{case['digest']}</code></p>"
    return page(title, body, language=language)


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in cells) + "</tr>"


def _retained(retained: Sequence[Mapping[str, Any]], language: str) -> str:
    listed = []
    for kept in retained:
        what, ground = _called(kept["rule"], language), _called(kept["ground"], language)
        listed.append(f"{kept['count']} × {what}: {ground}, {kept['until'] or WORDS[language]['open']}")
    return "; ".join(listed) or WORDS[language]["none"]


def _called(value: str, language: str) -> str:
    """A service of a later release may answer what this one has no word for yet."""
    return VALUES[language].get(value, value)
