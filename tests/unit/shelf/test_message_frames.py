"""A message of a batch is the bytes that the client library would write."""

from __future__ import annotations

import pytest
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from shared.messaging import topology
from shared.messaging.batches import CONTENT_TYPE, Message, encoded


@pytest.mark.parametrize("message_id", ["evt-1", "e" * 255])
@pytest.mark.parametrize("document", [b"{}", '{"name":"ø ☃"}'.encode() * 5_000])
def test_a_message_is_encoded_as_the_library_does(message_id: str, document: bytes):
    message = Message("entity.created", message_id, document)
    frames = (
        Basic.Publish(exchange=topology.EVENTS, routing_key="entity.created"),
        ContentHeader(
            body_size=len(document),
            properties=Basic.Properties(
                content_type=CONTENT_TYPE,
                delivery_mode=2,
                message_id=message_id,
                message_type="entity.created",
            ),
        ),
        ContentBody(document),
    )
    assert encoded(7, message) == b"".join(frame.marshal(each, 7) for each in frames)
