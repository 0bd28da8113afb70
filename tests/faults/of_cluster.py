"""Three RabbitMQ nodes: the one that leads a queue is killed, or one of the three stands still."""

import asyncio

from shared.bus.topology import names
from tests.faults.ground import Ground
from tests.faults.scenarios import Run, scenario
from tests.support.cluster import Cluster
from tests.support.suites import Processes


class Clustered(Ground):
    """The services know all three addresses; `node` is the one that the harness asks."""

    def start_broker(self) -> None:
        self.cluster = Cluster()
        self.cluster.start()
        self.node = self.cluster.nodes[0]

    def stop_broker(self) -> None:
        self.cluster.close()

    async def make_suite(self) -> Processes:
        addresses = ",".join(node.url() for node in self.cluster.nodes)
        return Processes(self.folder, self.postbox, addresses, roles=("api", "worker"), durable=True, warm=True)


def _cluster(run: Run) -> Cluster:
    assert isinstance(run.ground, Clustered)
    return run.ground.cluster


@scenario("cluster-leader-killed", ground=Clustered)
async def cluster_leader_killed(run: Run) -> None:
    """The leader of notify's queue is killed, and killed again wherever it has gone."""
    queue, _ = names(run.suite.namespace, "notify")
    for _ in range(run.times(3, short=1)):
        leader = await asyncio.to_thread(_cluster(run).leader_of, queue)
        await asyncio.to_thread(leader.kill)
        run.kills += 1
        await asyncio.sleep(5)
        await asyncio.to_thread(leader.start)
        await asyncio.sleep(3)


@scenario("cluster-minority-frozen", ground=Clustered)
async def cluster_minority_frozen(run: Run) -> None:
    """One node of three stands still with its connections open; the other two go on."""
    queue, _ = names(run.suite.namespace, "notify")
    leader = await asyncio.to_thread(_cluster(run).leader_of, queue)
    leader.freeze()
    await asyncio.sleep(run.times(20, short=8))
    leader.thaw()
    await asyncio.sleep(5)
