"""A node that serves a pool "tally" of two slots, written from docs/protocol.md; it ends with its standard input.

    node.py BROKER

Methods: add(number), fail(text), where() -> [session, worker, incarnation].
"""

import os
import select
import sys
import time
import uuid

import msgpack
import zmq

import frames as f

SLOTS, BEAT = 2, 0.2


class Worker:
    """One slot's session."""

    def __init__(self, node, offer, worker):
        node.incarnations[worker] += 1
        self.count, self.replies, self.number = 0, {}, 0
        self.live = dict(client=offer["client"], request=offer["request"], pool=offer["pool"], worker=worker,
                         incarnation=node.incarnations[worker], session=uuid.uuid4().bytes, key=os.urandom(16), epoch=1,
                         limits=dict(lease=10000, window=64))

    def run(self, method, argument):
        """The reply of a call: kind, code, body."""
        if method == "add":
            self.count += argument
            return f.REPLY, 0, self.count
        if method == "where":
            return f.REPLY, 0, [str(uuid.UUID(bytes=self.live["session"])), self.live["worker"], self.live["incarnation"]]
        if method == "fail":
            return f.FAIL, 60, {"text": argument}
        return f.FAIL, 5, {"text": "no method " + method}


class Node:
    def __init__(self, broker):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 1000
        self.socket.connect(broker)
        self.id = int.from_bytes(os.urandom(8), "big") | 1
        self.secret = os.urandom(16)
        self.seq, self.registered, self.said = 0, False, 0.0
        self.slots, self.sessions, self.opens = [None] * SLOTS, {}, {}
        self.incarnations = [0] * SLOTS

    def send(self, envelope):
        self.socket.send(f.body(envelope))

    def change(self, kind, **what):
        self.seq += 1
        self.send(f.control(kind, seq=self.seq, **what))

    def hello(self):
        self.said, self.registered = time.monotonic(), False
        self.send(f.control(f.HELLO, min=1, max=1, role="node", id=self.id.to_bytes(16, "big"), name="snake", program="node.py",
                            beat=int(BEAT * 1000)))

    def register(self):
        self.send(f.control(f.REGISTER, seq=self.seq, part=0, more=False, node=self.id, secret=self.secret, name="snake",
                            host=os.uname().nodename, pid=os.getpid(), endpoint="",
                            pools=[dict(name="tally", slots=SLOTS, methods=["add", "fail", "where"])],
                            beat=int(BEAT * 1000), misses=5, epoch=0, drain=False, live=[w.live for w in self.sessions.values()]))

    def tick(self):
        now = time.monotonic()
        if self.registered and now >= self.said + BEAT:
            self.said = now
            self.send(f.control(f.BEAT, seq=self.seq))
        elif not self.registered and now >= self.said + 0.5:
            self.hello()

    def receive(self, envelope):
        kind = envelope[0]
        if kind in (f.CALL, f.CANCEL, f.CLOSE, f.LEASE):
            self.holder(*f.header(envelope))
            return
        what = f.fields(envelope)
        if kind == f.WELCOME:
            self.register()
        elif kind == f.IDENTIFY:
            self.hello()
        elif kind == f.REGISTERED and what.get("again"):
            self.register()
        elif kind == f.REGISTERED:
            self.registered = True
        elif kind == f.OFFER:
            self.offer(what)
        elif kind == f.REVOKE:
            worker = self.opens.get((what["client"], what["request"]))
            if worker:
                self.end(worker, what["code"])
        elif kind == f.BEAT and not what.get("reply"):
            self.send(f.control(f.BEAT, seq=self.seq, reply=True))
        elif kind == f.ERROR:
            print("error", what, flush=True)

    def offer(self, offer):
        key = offer["client"], offer["request"]
        if key in self.opens:
            self.change(f.ACCEPT, live=self.opens[key].live)
        elif None not in self.slots:
            self.change(f.DECLINE, client=key[0], request=key[1], pool=offer["pool"], code=40)
        else:
            worker = Worker(self, offer, self.slots.index(None))
            self.slots[worker.live["worker"]] = self.opens[key] = self.sessions[worker.live["session"]] = worker
            self.change(f.ACCEPT, live=worker.live)

    def end(self, worker, code):
        live = worker.live
        self.slots[live["worker"]] = None
        del self.opens[live["client"], live["request"]], self.sessions[live["session"]]
        self.change(f.ENDED, session=live["session"], pool=live["pool"], code=code)

    def holder(self, head, rest):
        answer = {name: head[name] for name in ("via", "node", "session", "epoch", "number")}
        if head["kind"] == f.LEASE:  # all leases of this client are good
            self.send(f.message(f.LEASED, **{**answer, "ack": head["ack"]}))
            return
        worker = self.sessions.get(head["session"])
        wrong = 20 if worker is None else 21 if worker.live["key"] != head["key"] else 0
        if head["kind"] == f.CLOSE:
            self.send(f.message(f.CLOSED, code=wrong, **answer))
            if not wrong:
                self.end(worker, 22)
        elif wrong:
            self.send(f.message(f.FAIL, msgpack.packb({}), code=wrong, flags=f.NOT_RUN if wrong == 21 else f.UNKNOWN, **answer))
        elif head["kind"] == f.CALL:
            self.call(worker, head, rest, answer)

    def call(self, worker, head, rest, answer):
        for number in [n for n in worker.replies if n <= head["ack"]]:
            del worker.replies[number]
        if head["number"] == worker.number + 1:
            worker.number += 1
            method, argument = rest[: head["code"]].decode(), rest[head["code"] :]
            worker.replies[worker.number] = worker.run(method, msgpack.unpackb(argument, raw=False))
        if head["number"] in worker.replies:
            kind, code, value = worker.replies[head["number"]]
            self.send(f.message(kind, msgpack.packb(value, use_bin_type=True), code=code, **answer))

    def serve(self):
        self.hello()
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(sys.stdin.fileno(), zmq.POLLIN)
        while not select.select([sys.stdin], [], [], 0)[0]:
            for socket, _ in poller.poll(50):
                if socket is self.socket:
                    for envelope in f.envelopes(self.socket.recv_multipart()[-1]):
                        self.receive(envelope)
            self.tick()
        for worker in list(self.sessions.values()):
            self.end(worker, 25)
        self.send(f.control(f.LEAVE, seq=self.seq))
        self.context.destroy()


Node(sys.argv[1]).serve()
