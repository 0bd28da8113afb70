"""Free ports on loopback."""

import itertools
import random
import socket

# Below the range of outgoing connections: while a node is down, no client's own port may take its place.
PORTS = range(20_000, 32_000)
# Each process takes its ports in a row from a place of its own: two that start suites at once seldom meet, and none is
# given out twice before it is bound.
_begin = random.randrange(len(PORTS))
_row = itertools.cycle([*PORTS[_begin:], *PORTS[:_begin]])


def free_port() -> int:
    """Return a loopback port that nothing listens on and that no outgoing connection will be given."""
    for port in itertools.islice(_row, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("every loopback port is taken")
