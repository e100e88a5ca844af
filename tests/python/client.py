"""A client of a pool "tally", written from docs/protocol.md: opens with a REQ socket, calls over a DEALER socket.

    client.py BROKER CALLS
"""

import sys
import uuid

import msgpack
import zmq

import frames as f


class Session:
    """One session, called over a DEALER socket."""

    def __init__(self, dealer, route):
        self.dealer, self.route, self.number, self.ack, self.heard = dealer, route, 0, 0, []
        self.holder = {name: route[name] for name in ("node", "session", "key", "epoch")}

    def send(self, envelope):
        self.dealer.send(f.body(envelope))

    def answer(self, *kinds):
        """The next answer of one of these kinds to this session."""
        while True:
            while not self.heard:
                self.heard = f.envelopes(self.dealer.recv_multipart()[-1])
            envelope = self.heard.pop(0)
            if envelope[0] in kinds:
                return f.header(envelope)
            if envelope[0] == f.ERROR:
                raise RuntimeError(f.fields(envelope))

    def call(self, method, argument):
        """Sends a call twice, as one that was not sure would, and settles it by the first answer."""
        self.number += 1
        name = method.encode()
        for flags in (0, f.AGAIN):
            self.send(f.message(f.CALL, name + msgpack.packb(argument, use_bin_type=True), flags=flags, code=len(name),
                                number=self.number, ack=self.ack, budget=30000, **self.holder))
        while True:
            header, rest = self.answer(f.REPLY, f.FAIL)
            if header["session"] == self.route["session"] and header["number"] == self.number:
                break
        self.ack = self.number
        value = msgpack.unpackb(rest, raw=False)
        if header["kind"] == f.FAIL:
            return "fail %d: %s" % (header["code"], value.get("text", ""))
        return value

    def lease(self, client):
        ids = [self.route["session"]]
        self.send(f.message(f.LEASE, session=client, node=self.route["node"], number=1, ack=f.digest(ids)))
        header, rest = self.answer(f.LEASED)
        if (header["code"], header["flags"], rest) != (0, 0, b""):
            raise RuntimeError("leased: %r" % header)

    def close(self):
        self.send(f.message(f.CLOSE, number=self.number + 1, ack=self.ack, **self.holder))
        return self.answer(f.CLOSED)[0]["code"]


def ask(request, envelope):
    """One question and one answer over a REQ socket."""
    request.send(f.body(envelope))
    (answer,) = f.envelopes(request.recv())
    return answer


def main(broker, calls):
    context = zmq.Context()
    request, dealer = context.socket(zmq.REQ), context.socket(zmq.DEALER)
    for socket in (request, dealer):
        socket.linger, socket.rcvtimeo = 0, 120000
        socket.connect(broker)
    client = uuid.uuid4().bytes

    refused = ask(request, f.control(f.OPEN, client=client, request=uuid.uuid4().bytes, pool="no such pool"))
    print("refused", refused[0] == f.REFUSED and f.fields(refused)["code"])
    wrong = ask(request, f.control(99))
    print("error", wrong[0] == f.ERROR and f.fields(wrong)["code"])

    wish = f.control(f.OPEN, client=client, request=uuid.uuid4().bytes, pool="tally")
    opened = ask(request, wish)
    if opened[0] != f.OPENED:
        raise RuntimeError(f.fields(opened))
    again = f.fields(ask(request, wish))
    session = Session(dealer, f.fields(opened))
    print("opened", again["session"] == session.route["session"], session.route["node_name"])

    for i in range(calls):
        count = session.call("add", 1)
        if count != i + 1:
            raise RuntimeError("call %d counts to %r" % (i + 1, count))
    print("counted", calls)
    session.lease(client)
    print("answers", session.call("fail", "broken mast"), "|", session.call("nope", 1), "|", session.call("add", "one"))
    print("closed", session.close(), session.close())
    print("after", session.call("add", 1))
    context.destroy()


main(sys.argv[1], int(sys.argv[2]))
