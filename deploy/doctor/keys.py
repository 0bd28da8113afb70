"""The key that signs everybody's tokens: there is one, it is young, its secret opens it, and it is published."""

from datetime import timedelta
from typing import cast
from urllib.parse import urlparse

import aiohttp
from sqlalchemy import select

from deploy.doctor.checks import of_suite
from deploy.doctor.findings import Finding, failed, ok, warning
from deploy.doctor.site import Site
from services.identity.keyring import open_key
from services.identity.models import SigningKey
from services.identity.settings import Settings
from shared.db import utc_now

ASKING_SECONDS = 8
# The rotation runs every hour; a key that is this much older than it may be was forgotten.
GRACE = timedelta(days=1)


@of_suite("signing_key")
async def check_signing_key(site: Site) -> list[Finding]:
    """Identity's newest key signs, opens with the configured secret, and is younger than its time."""
    settings = cast(Settings, site.get_service("identity"))
    async with site.session("identity") as session:
        keys = list(await session.scalars(select(SigningKey).order_by(SigningKey.signs_from)))
    now = utc_now()
    signing = [key for key in keys if key.signs_from <= now and (key.retires_at is None or key.retires_at > now)]
    if not signing:
        return [failed("none_signs")] if keys else [warning("none_yet")]
    try:
        open_key(signing[-1], settings.secrecy)
    except ValueError:
        return [failed("sealed")]
    age = now - keys[-1].signs_from
    if age > timedelta(days=settings.key_days) + GRACE:
        return [warning("old", days=age.days, at_most=settings.key_days)]
    return [ok(days=max(age.days, 0))]


@of_suite("jwks")
async def check_jwks(site: Site) -> list[Finding]:
    """Identity publishes the keys that its database holds; who cannot read them refuses every token."""
    if site.is_embedded:
        return [ok("embedded")]
    address = site.get_suite().internal_urls.get("identity", "")
    place = urlparse(address).netloc
    try:
        timeout = aiohttp.ClientTimeout(total=ASKING_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{address}/internal/jwks") as answer:
            answer.raise_for_status()
            published = {str(key["kid"]) for key in (await answer.json(content_type=None))["keys"]}
    except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError):
        return [failed("silent", server=place)]
    # Asked after the first answer: identity makes its first key when somebody wants one.
    async with site.session("identity") as session:
        held = set(await session.scalars(select(SigningKey.id).where(SigningKey.retires_at.is_(None))))
    if not held <= published or not held:
        return [failed("other_keys", published=len(published), held=len(held))]
    return [ok(count=len(published))]
