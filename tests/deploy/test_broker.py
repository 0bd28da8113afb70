"""Finding RabbitMQ: an open port is not enough, and a private node of the installed package really starts."""

import socket

import pytest

from tests.support import broker
from tests.support.rabbitmq import answers


def test_an_open_port_is_no_broker() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not answers(f"amqp://guest:guest@127.0.0.1:{port}/", seconds=0.5)


def test_an_address_that_was_given_and_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COWORK_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:9/")
    with pytest.raises(broker.NoBroker):
        broker.find_broker()


def test_without_any_broker_the_ways_to_get_one_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COWORK_TEST_AMQP_URL", raising=False)
    for way in ("_running", "_in_docker", "_installed", "_installed_now"):
        monkeypatch.setattr(broker, way, lambda: None)
    with pytest.raises(broker.NoBroker, match="apt install rabbitmq-server"):
        broker.find_broker()
