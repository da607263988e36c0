"""Small helpers between Python values and protobuf: durations, wrappers, `Any`, and joining encoded messages.

*Joining.* A snapshot of 1,000 services holds the same endpoints in many assignments and the same settings in many
clusters. In protobuf's wire format a submessage is its tag, its length and its own encoding, and the encoding of a
message is the concatenation of its fields; so a part that was encoded once can be put into any number of messages by
joining bytes (protobuf.dev, "Encoding", "Length-Delimited Records"). `part` writes such a field. Joined in the order
of field numbers the bytes are the ones that `SerializeToString(deterministic=True)` gives for the whole message;
tests hold us to that, so versions do not depend on which way a message was made.

Rejected: building every message whole, which measured about ten times slower for the assignments, and keeping
messages rather than bytes in the memo, because bytes compare, hash and are sent as they are.
"""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

_LENGTH_DELIMITED = 2


def encode(message: Message) -> bytes:
    """Return the deterministic encoding: equal messages give equal bytes on every replica."""
    return message.SerializeToString(deterministic=True)


def duration(ms: int) -> Duration:
    """Return milliseconds as a protobuf duration."""
    return Duration(seconds=ms // 1_000, nanos=ms % 1_000 * 1_000_000)


def uint32(value: int) -> UInt32Value:
    """Return a wrapped integer: Envoy tells 0 from unset by the wrapper."""
    return UInt32Value(value=value)


def any_of(message: Message) -> Any:
    """Return the message in an `Any`, encoded deterministically."""
    packed = Any()
    packed.Pack(message, deterministic=True)
    return packed


def part(number: int, encoded: bytes) -> bytes:
    """Return field `number` holding an encoded submessage (or a string's UTF-8)."""
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(encoded)) + encoded


def number(field: int, value: int) -> bytes:
    """Return field `field` holding a positive integer."""
    return varint(field << 3) + varint(value)


def varint(value: int) -> bytes:
    """Return a number as protobuf writes it ("Base 128 Varints", encoding guide)."""
    if value <= 0x7F:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
