"""Where a request comes from, as the person later reads it in their sessions and security log."""

import re
from dataclasses import dataclass

_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_SYSTEMS = (
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True, slots=True)
class Origin:
    """`device` is browser and system, not the whole user agent, which singles people out."""

    device: str
    address: str

    @classmethod
    def of(cls, user_agent: str, address: str) -> "Origin":
        return cls(_device(user_agent), address)


def _device(user_agent: str) -> str:
    browser = next((name for mark, name in _BROWSERS if f"{mark}/" in user_agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    if browser is None and system is None:
        product = re.match(r"[A-Za-z-]{1,30}", user_agent)
        return product.group() if product else ""
    return " · ".join(filter(None, [browser, system]))
