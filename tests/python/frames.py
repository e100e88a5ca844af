"""Frames, control messages and session messages of docs/protocol.md, version 1."""

import struct

import msgpack

HEAD = b"LMP\x01"

HELLO, WELCOME, ERROR, IDENTIFY, BEAT = 1, 2, 3, 4, 5
OPEN, OPENED, REFUSED, QUEUED, WITHDRAW = 10, 11, 12, 13, 14
OFFER, ACCEPT, DECLINE, REVOKE = 20, 21, 22, 23
REGISTER, REGISTERED, ENDED, LOST, DRAIN, LEAVE = 24, 25, 26, 27, 28, 29
CALL, CANCEL, CLOSE, LEASE = 64, 65, 66, 67
REPLY, FAIL, HELD, CLOSED, LEASED, EXPIRED = 80, 81, 82, 83, 84, 85

RAW, NOT_RUN, UNKNOWN, AGAIN = 2, 4, 8, 16

HEADER = struct.Struct(">BBHIQQ16s16sQQII")
FIELDS = ("kind", "flags", "code", "epoch", "via", "node", "session", "key", "number", "ack", "budget", "patience")


def body(*envelopes):
    """The body frame that carries these envelopes."""
    return HEAD + b"".join(struct.pack(">I", len(e)) + e for e in envelopes)


def envelopes(frame):
    """The envelopes of a body frame."""
    if frame[:4] != HEAD:
        raise ValueError("no frame of version 1: %r" % frame[:8])
    found, at = [], 4
    while at < len(frame):
        (length,) = struct.unpack_from(">I", frame, at)
        at += 4
        if length == 0 or at + length > len(frame):
            raise ValueError("an envelope of %d bytes" % length)
        found.append(frame[at : at + length])
        at += length
    return found


def control(kind, **fields):
    """A control message as an envelope."""
    return bytes([kind]) + msgpack.packb(fields, use_bin_type=True)


def fields(envelope):
    """The fields of a control message."""
    return msgpack.unpackb(envelope[1:], raw=False)


def message(kind, rest=b"", **header):
    """A session message as an envelope; header fields that are not given are zero."""
    zero = {"session": bytes(16), "key": bytes(16)}
    values = [header.get(name, zero.get(name, 0)) for name in FIELDS]
    values[0] = kind
    return HEADER.pack(*values) + rest


def header(envelope):
    """The header of a session message, and what follows it."""
    return dict(zip(FIELDS, HEADER.unpack_from(envelope))), envelope[HEADER.size :]


def digest(ids):
    """What a lease says of the sessions it means."""
    d = 0
    for i in ids:
        high, low = struct.unpack(">QQ", i)
        d ^= high ^ low
    return d
