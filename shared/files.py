"""Files in an object store (local folder or S3), addressed by random keys and shown by short-lived signed links."""

import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from urllib.parse import urlparse

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

from shared.problems import NotFound


class Files:
    """One service's part of the object store. Keys are relative paths; they carry ids, never names."""

    def __init__(self, url: str, service: str, *, signing_key: str) -> None:
        parsed = urlparse(url)
        self._store: ObjectStore
        if parsed.scheme == "file":
            self._store = LocalStore(f"{parsed.path}/{service}", mkdir=True)
        else:
            self._store = from_url(f"{url.rstrip('/')}/{service}")
        self._signing_key = signing_key.encode()

    async def put(self, key: str, content: bytes) -> None:
        await obstore.put_async(self._store, key, content)

    async def get(self, key: str) -> bytes:
        """Return the content. Raises NotFound."""
        try:
            result = await obstore.get_async(self._store, key)
        except FileNotFoundError as error:
            raise NotFound from error
        return bytes(await result.bytes_async())

    async def delete(self, key: str) -> None:
        """Remove the file; one that is already gone is no error."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """Yield every key below `prefix`."""
        async for batch in obstore.list(self._store, prefix=prefix or None):
            for item in batch:
                yield item["path"]

    def sign(self, key: str, *, seconds: int = 300) -> str:
        """Return the query string that lets whoever holds it read `key` until it expires."""
        expires = int(time.time()) + seconds
        return f"expires={expires}&signature={self._signature(key, expires)}"

    def is_signed(self, key: str, *, expires: int, signature: str) -> bool:
        """Whether a link for `key` is genuine and still valid."""
        genuine = hmac.compare_digest(self._signature(key, expires).encode(), signature.encode())
        return genuine and expires >= time.time()

    def _signature(self, key: str, expires: int) -> str:
        return hmac.new(self._signing_key, f"{key}\n{expires}".encode(), hashlib.sha256).hexdigest()
