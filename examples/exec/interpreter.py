"""A Python interpreter for every session, served by limpet exec:

    limpet exec --pool python --slots 100 -- python3 examples/exec/interpreter.py

Names live as long as the session. Each method takes one string:

    eval  an expression; the reply is its value
    exec  statements; what they print is the call's progress, and the reply
"""

import _thread
import json
import os
import signal
import sys
import threading

# The messages' own streams, out of reach of the code that is run here: what
# that reads is empty, and what it writes to stdout past sys.stdout is the log's.
requests = os.fdopen(os.dup(0), encoding="utf-8")
answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)


def send(**message):
    # A surrogate, NaN or what is no JSON value at all is an error before anything is written.
    line = json.dumps({"jsonrpc": "2.0", **message}, allow_nan=False)
    answers.write(line + "\n")
    answers.flush()


class Printed:
    """sys.stdout while a call runs."""

    def __init__(self):
        self.text = []

    def write(self, text):
        self.text.append(text)
        send(method="progress", params=text)
        return len(text)

    def flush(self):
        pass


def run(method, source):
    if method == "eval":
        return eval(source, names)
    if method == "exec":
        sys.stdout = Printed()
        exec(source, names)
        return "".join(sys.stdout.text)
    raise LookupError(f"no method {method!r}: there are eval and exec")


names = {"__name__": "__session__"}
waiting = []  # requests, from the thread that reads them
arrived = threading.Semaphore(0)
running = None  # the id of the request that runs
unanswered = set()  # ids, begun or not
cancelled = set()  # those of them that are to end


def read():
    for line in requests:
        message = json.loads(line)
        if message["method"] != "$/cancelRequest":
            unanswered.add(message["id"])
            waiting.append(message)
            arrived.release()
        elif message["params"]["id"] in unanswered:
            cancelled.add(message["params"]["id"])
            _thread.interrupt_main()
    os._exit(0)  # the session is over, or limpet is


def interrupted(*_):
    """Ends the request that runs, once, if it is one that was cancelled."""
    if running in cancelled:
        cancelled.discard(running)
        raise KeyboardInterrupt


def answer(request):
    global running
    try:
        running = request["id"]
        interrupted()  # it may have been cancelled before it began
        result = run(request["method"], *request["params"])
        json.dumps(result, allow_nan=False)
        running = None
        return {"result": result}
    except KeyboardInterrupt:
        return {"error": {"code": -32800, "message": "interrupted"}}
    except BaseException as error:
        return {"error": {"code": -32000, "message": f"{type(error).__name__}: {error}"}}


signal.signal(signal.SIGINT, interrupted)
send(method="ready")
threading.Thread(target=read, daemon=True).start()
while True:
    arrived.acquire()
    request = waiting.pop(0)
    try:
        said = answer(request)
    except KeyboardInterrupt:  # it came as the request was failing by itself
        said = {"error": {"code": -32800, "message": "interrupted"}}
    running = None
    unanswered.discard(request["id"])
    cancelled.discard(request["id"])
    sys.stdout = sys.__stdout__
    send(id=request["id"], **said)
