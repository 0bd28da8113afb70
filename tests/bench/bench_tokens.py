"""Verifying access tokens: known ones, new ones, and what the libraries alone take."""

from collections.abc import Sequence

import jwt

from shared.auth import ALGORITHM, AUDIENCE, ISSUER, TokenVerifier
from shared.db import uuid7
from tests.bench.figures import Figure, Sample, bench, interleaved, timed
from tests.bench.stand import Stand
from tests.support.testing import TokenMint


@bench("tokens")
async def tokens(stand: Stand) -> Sequence[Figure]:
    mint, tenant = TokenMint(), uuid7()
    count = stand.many(3_000)
    minted = [mint.mint(uuid7(), tenant) for _ in range(count)]
    (published,) = await mint.fetch_keys()
    key, known = jwt.PyJWK(published), TokenVerifier(mint.fetch_keys)
    await known.verify(minted[0])

    async def again() -> Sample:
        return await timed(count, lambda: _verify(known, minted[:1] * count))

    async def first_time() -> Sample:
        return await timed(count, lambda: _verify(TokenVerifier(mint.fetch_keys), minted))

    async def bare() -> Sample:
        return await timed(count, lambda: _decode(key, minted))

    figures = []
    for name, ours in (("known", again), ("new", first_time)):
        us, raw = await interleaved(ours, bare)
        figures.append(Figure(f"tokens, {name}", us.rate, "tokens/s", limit=raw.rate, ratio=us.rate / raw.rate))
    return figures


async def _verify(verifier: TokenVerifier, minted: Sequence[str]) -> None:
    for token in minted:
        await verifier.verify(token)


async def _decode(key: jwt.PyJWK, minted: Sequence[str]) -> None:
    for token in minted:
        jwt.decode(token, key, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=ISSUER)
