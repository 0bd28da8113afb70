"""Three RabbitMQ nodes that keep each other's quorum queues."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.support.rabbitmq import Node, Realm

# A node that does not answer for this long is down for the others; without a majority a node pauses itself.
TICK_SECONDS = 5


class Cluster:
    """`nodes` start together and find each other by their names; synchronous like a Node."""

    def __init__(self, size: int = 3, settings: Mapping[str, str] | None = None) -> None:
        self._realm = Realm()
        self.nodes = [Node(self._realm) for _ in range(size)]
        peers = {f"cluster_formation.classic_config.nodes.{i}": node.name for i, node in enumerate(self.nodes, 1)}
        rules = {
            "cluster_formation.peer_discovery_backend": "classic_config",
            "cluster_partition_handling": "pause_minority",
            "net_ticktime": str(TICK_SECONDS),
            **peers,
            **(settings or {}),
        }
        for node in self.nodes:
            node.configure(rules)

    def start(self) -> None:
        """Return when every node answers AMQP and all are one cluster. Raises NodeDied."""
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.ready()
        self.nodes[0].ctl("await_online_nodes", str(len(self.nodes)))

    def leader_of(self, queue: str, vhost: str = "/") -> Node:
        """Return the node that leads a quorum queue, as a running node sees it. Raises KeyError."""
        witness = next(node for node in self.nodes if node.is_running and not node.is_frozen)
        leader = witness.queues("leader", vhost=vhost)[queue]["leader"]
        return next(node for node in self.nodes if node.name == leader)

    def followers_of(self, queue: str, vhost: str = "/") -> list[Node]:
        leader = self.leader_of(queue, vhost)
        return [node for node in self.nodes if node is not leader]

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
