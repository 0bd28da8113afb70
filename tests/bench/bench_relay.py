"""The relay: events/s from the outbox to the broker's confirm, against aio-pika publishing the same bodies."""

import time
from collections.abc import Sequence

from shared.bus import Envelope
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from tests.bench.backlogs import Store
from tests.bench.figures import Figure, Sample, at_least, bench, interleaved, timed
from tests.bench.stand import Stand
from tests.bench.wires import WRITER, Wire, publish_raw

EVENTS = 3000


class Bodies:
    """A transport that keeps what it is given: the bodies for the raw side."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    async def publish(self, envelopes: Sequence[Envelope]) -> list[bool]:
        self.kept += [envelope.encode() for envelope in envelopes]
        return [True] * len(envelopes)


async def relay_all(store: Store, transport: Transport) -> None:
    """Relay until nothing waits, as a worker does that has been asked to stop."""
    relay = Relay(WRITER, store.database, transport)
    await relay.stop()
    await relay.run()


@bench("relay")
async def relay(stand: Stand) -> list[Figure]:
    wire, store, count = await Wire.of(stand), await Store.of(stand), stand.many(EVENTS, least=100)
    transport, exchange, bodies = wire.transport(), await wire.exchange(), Bodies()
    await store.wait(count)
    await relay_all(store, bodies)  # type: ignore[arg-type]
    cpu = 0.0

    async def ours() -> Sample:
        nonlocal cpu
        await store.wait(count)
        await wire.purge()
        cpu = time.process_time()
        sample = await timed(count, lambda: relay_all(store, transport))
        cpu = time.process_time() - cpu
        return sample

    async def raw() -> Sample:
        await wire.purge()
        return await timed(count, lambda: publish_raw(exchange, bodies.kept))

    mine, limit = await interleaved(ours, raw)
    print([round(s.rate) for s in mine.samples], [round(s.rate) for s in limit.samples])
    return [
        Figure(
            "relay",
            value=mine.rate,
            unit="events/s",
            limit=limit.rate,
            ratio=mine.rate / limit.rate,
            goals=(at_least("ratio", 0.6),),
            notes={"cpu_ms_per_event": cpu / count * 1000},
        )
    ]
