"""Settings: what is missing or wrong, and what would work but not well."""

from urllib.parse import urlparse

from deploy.doctor.checks import of_suite
from deploy.doctor.findings import Finding, failed, ok, warning
from deploy.doctor.site import Site
from shared.events import SERVICES

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@of_suite("settings")
async def check_settings(site: Site) -> list[Finding]:
    """Every setting is there and well formed; services that run apart can find each other."""
    found = list(site.faults)
    if site.suite is not None and not site.is_embedded:
        if site.suite.amqp_url is None:
            found.append(failed("missing", variables=["COWORK_AMQP_URL"]))
        unknown = [name for name in SERVICES if name not in site.suite.internal_urls]
        if unknown:
            found.append(failed("no_address", services=unknown))
        public = urlparse(site.suite.public_url)
        if public.scheme != "https" and public.hostname not in LOOPBACK:
            found.append(warning("public_without_tls"))
    return found or [ok("embedded" if site.is_embedded else "ok")]
