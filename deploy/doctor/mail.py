"""The mail server: reachable, speaking TLS, letting us in. No mail is sent."""

from typing import cast

import aiosmtplib

from deploy.doctor.checks import of_suite
from deploy.doctor.findings import Finding, failed, ok, warning
from deploy.doctor.settings import LOOPBACK
from deploy.doctor.site import Site
from services.notify.settings import Settings

SMTP_SECONDS = 10


@of_suite("smtp")
async def check_smtp(site: Site) -> list[Finding]:
    """Go as far as a mail would go, up to its sender."""
    settings = cast(Settings, site.get_service("notify"))
    if settings.smtp_host is None:
        return [ok("page_only") if site.is_embedded or settings.outbox_page else warning("no_server")]
    server = f"{settings.smtp_host}:{settings.smtp_port}"
    client = aiosmtplib.SMTP(
        hostname=settings.smtp_host, port=settings.smtp_port, start_tls=False, timeout=SMTP_SECONDS
    )
    try:
        await client.connect()
        return await _greet(client, settings) or _judge_sender(settings) or [ok(server=server)]
    except (aiosmtplib.SMTPException, OSError):
        return [failed("silent", server=server)]
    finally:
        client.close()


async def _greet(client: aiosmtplib.SMTP, settings: Settings) -> list[Finding]:
    server = f"{settings.smtp_host}:{settings.smtp_port}"
    await client.ehlo()
    if settings.smtp_starttls:
        if not client.supports_extension("starttls"):
            return [failed("no_starttls", server=server)]
        try:
            await client.starttls()
        except (aiosmtplib.SMTPException, OSError):
            return [failed("bad_tls", server=server)]
    elif settings.smtp_host not in LOOPBACK:
        return [warning("plain", server=server)]
    if settings.smtp_user is not None:
        password = settings.smtp_password.get_secret_value() if settings.smtp_password else ""
        try:
            await client.login(settings.smtp_user, password)
        except aiosmtplib.SMTPException:
            return [failed("login_refused", server=server)]
    await client.quit()
    return []


def _judge_sender(settings: Settings) -> list[Finding]:
    """A sender that nobody can answer is thrown away by most servers."""
    is_local = settings.mail_from.rpartition("@")[2].strip(" >") in LOOPBACK
    return [warning("local_sender")] if is_local and settings.smtp_host not in LOOPBACK else []
