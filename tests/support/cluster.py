"""Three RabbitMQ nodes that keep each other's quorum queues."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.support.rabbitmq import Node, Realm

# A node that does not answer for this long is down for the others; without a majority a node pauses itself.
TICK_SECONDS = 5


class Cluster:
    """Its first node starts alone, the others join it; synchronous like a Node.

    A node that was wiped joins again when it starts (`forget` it on the others first).
    """

    def __init__(self, size: int = 3, settings: Mapping[str, str] | None = None) -> None:
        self._realm = Realm()
        rules = {"cluster_partition_handling": "pause_minority", "net_ticktime": str(TICK_SECONDS), **(settings or {})}
        self.nodes = [Node(self._realm, rules) for _ in range(size)]
        peers = {f"cluster_formation.classic_config.nodes.{i}": node.name for i, node in enumerate(self.nodes, 1)}
        self._joining = {**rules, "cluster_formation.peer_discovery_backend": "classic_config", **peers}

    def start(self) -> None:
        """Return when every node answers AMQP and all are one cluster. Raises NodeDied."""
        first, *others = self.nodes
        first.start()
        for node in self.nodes:
            node.configure(self._joining)
        for node in others:
            node.start(wait=False)
        for node in others:
            node.ready()
        first.ctl("await_online_nodes", str(len(self.nodes)))

    def forget(self, lost: Node) -> None:
        """Strike a stopped node from the cluster, on a node that runs."""
        self._witness().ctl("forget_cluster_node", lost.name)

    def leader_of(self, queue: str, vhost: str = "/") -> Node:
        """Return the node that leads a quorum queue, as a running node sees it. Raises KeyError."""
        leader = self._witness().queues("leader", vhost=vhost)[queue]["leader"]
        return next(node for node in self.nodes if node.name == leader)

    def followers_of(self, queue: str, vhost: str = "/") -> list[Node]:
        leader = self.leader_of(queue, vhost)
        return [node for node in self.nodes if node is not leader]

    def _witness(self) -> Node:
        return next(node for node in self.nodes if node.is_running and not node.is_frozen)

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        self._realm.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
