"""Somebody to tell: a web hook of this machine, and a command that writes down what it gets."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WRITES = """\
import json, os, sys
names = [name for name in os.environ if name.startswith("RUN_BATCH_") and name != "RUN_BATCH_CACHE"]
told = {"stdin": json.load(sys.stdin), "argv": sys.argv[2:], "environ": {name: os.environ[name] for name in names}}
with open(sys.argv[1], "a", encoding="utf-8") as file:
    file.write(json.dumps(told) + "\\n")
"""


@contextmanager
def hook(status=200, pause=0.0, most=None, scheme="json"):
    """A web hook at localhost that keeps what it gets, and refuses what has more than ``most`` bytes."""
    got = []
    go_on = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_json = "json" in self.headers["Content-Type"]
            got.append((self.path, json.loads(body) if is_json else body))
            go_on.wait(pause)
            self.send_response(413 if most is not None and len(body) > most else status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_port}", got
    finally:
        go_on.set()
        server.shutdown()
        server.server_close()
