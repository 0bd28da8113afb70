"""The network between services and broker, or services and database, is slow, half-open, or resets in mid-frame."""

import asyncio

from sqlalchemy import make_url

from tests.faults.ground import Ground
from tests.faults.proxy import Proxy
from tests.faults.scenarios import Run, scenario
from tests.support.suites import Processes

RESETS = 5


class Behind(Processes):
    """The services reach broker and database through proxies; the harness itself goes to them directly."""

    to_broker: Proxy
    to_database: Proxy

    def environment_of(self, name: str) -> dict[str, str]:
        usual = super().environment_of(name)
        database = f"COWORK_{name.upper()}_DATABASE_URL"
        return {
            **usual,
            "COWORK_AMQP_URL": _through(self.to_broker, usual["COWORK_AMQP_URL"]),
            database: _through(self.to_database, usual[database]),
        }


def _through(proxy: Proxy, url: str) -> str:
    return make_url(url).set(port=proxy.port).render_as_string(hide_password=False)


class Network(Ground):
    """A ground with a proxy before the broker and one before the database, both transparent until a fault asks."""

    async def make_suite(self) -> Processes:
        suite = Behind(self.folder, self.postbox, self.node.url(), roles=("api", "worker"), durable=True, warm=True)
        suite.to_broker = self.to_broker = Proxy(self.node.port).start()
        # The server starts later, on the port that it has been given.
        suite.to_database = self.to_database = Proxy(int((suite.postgres.folder / "port").read_text())).start()
        return suite

    async def stop(self) -> None:
        await super().stop()
        self.to_broker.stop()
        self.to_database.stop()


def _network(run: Run) -> Network:
    assert isinstance(run.ground, Network)
    return run.ground


@scenario("network-slow", ground=Network)
async def network_slow(run: Run) -> None:
    """Two seconds to the broker and two back: fewer events a second, but all of them."""
    await _slow(_network(run).to_broker, seconds=2, for_seconds=run.times(20, short=8))


@scenario("network-half-open", ground=Network)
async def network_half_open(run: Run) -> None:
    """Nothing comes from the broker and nothing reaches it; the heartbeat notices, and consumers come back by themselves."""
    await _stall(_network(run).to_broker, for_seconds=run.times(20, short=16))


@scenario("network-reset", ground=Network, in_short=True)
async def network_reset(run: Run) -> None:
    await _reset(run, _network(run).to_broker, times=run.times(RESETS, short=2))


@scenario("database-slow", allows_5xx=True, ground=Network)
async def database_slow(run: Run) -> None:
    """Every statement takes four seconds more."""
    await _slow(_network(run).to_database, seconds=2, for_seconds=run.times(10, short=5))


@scenario("database-half-open", allows_5xx=True, ground=Network)
async def database_half_open(run: Run) -> None:
    await _stall(_network(run).to_database, for_seconds=run.times(15, short=5))


@scenario("database-reset", allows_5xx=True, ground=Network)
async def database_reset(run: Run) -> None:
    await _reset(run, _network(run).to_database, times=run.times(RESETS, short=2))


async def _slow(proxy: Proxy, *, seconds: float, for_seconds: float) -> None:
    proxy.latency(seconds)
    await asyncio.sleep(for_seconds)
    proxy.latency(0)


async def _stall(proxy: Proxy, *, for_seconds: float) -> None:
    proxy.stall()
    await asyncio.sleep(for_seconds)
    proxy.resume()


async def _reset(run: Run, proxy: Proxy, *, times: int) -> None:
    for _ in range(times):
        proxy.reset_in_mid_frame()
        run.kills += 1
        await asyncio.sleep(3)
