#!/usr/bin/python3
"""As much of Mimir as three machines behind a load balancer need: mutual TLS on
the port for clients, readiness, a ring of those that answer on the port that only
the machines reach, and writes and queries that take two of them. It begins and ends as
Mimir does: its port is open before it serves and after, `/ready` says so, and for
`shutdown_delay` it goes on, and ends each connection with its next answer."""
import http.server, json, os, re, signal, socket, ssl, sys, threading, time

if "-version" in sys.argv or "--version" in sys.argv:
    # Of no release: whatever version is configured.
    print("Mimir, version (branch: test)")
    sys.exit()
options = dict(a.lstrip("-").split("=", 1) for a in sys.argv[1:] if "=" in a)
text = open(options["config.file"]).read()
if "900d" in text:
    print("error: this configuration is refused", flush=True)
    sys.exit(1)
# As Mimir from 3.1 on does: for the ring of its queriers it looks for an address among the
# machine's, if it is told none. What looks asks the kernel, which a confined unit may not.
querier = re.search(r"^querier:\n(?:[ #].*\n)*", text, re.M)
if "instance_addr" not in querier.group():
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
ha = "DORAINFRA_MEMBER_1" in os.environ
own, listen = os.environ["DORAINFRA_ADDRESS"], os.environ["DORAINFRA_LISTEN"]
os.makedirs("data/tsdb", exist_ok=True)
open("data/tsdb/starts", "a").write("start\n")
delay = re.search(r"^shutdown_delay: *\"?(\d+)s", text, re.M)
delay = int(delay.group(1)) if delay else 0
# What Mimir's modules take to begin and to end, while its port is open.
BEGINS, ENDS = 1, 2
serving = asked_to_end = False
lock, idle = threading.Lock(), set()


def state(address):
    try:
        socket.create_connection((address, 9095), 1).close()
        return "ACTIVE"
    except OSError:
        return "UNHEALTHY"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/ingester/ring":
            shards = [{"id": a, "state": state(a), "address": a, "zone": "z"} for a in members()]
            self.answer(200, json.dumps({"shards": shards}).encode())
        elif self.path == "/ready" and asked_to_end:
            self.answer(503, b"Application is stopping\n")
        elif not serving:
            self.answer(503, b"Some services are not Running\n")
        elif self.path == "/ready" or self.command == "GET" and "/query" not in self.path:
            # As Mimir says it: without the end of a line.
            self.answer(200, b"ready")
        elif [state(a) for a in members()].count("ACTIVE") < len(members()) // 2 + 1:
            self.answer(500, b"at least 2 live replicas required, could only find fewer\n")
        elif self.path.startswith("/prometheus/api/v1/query"):
            self.answer(200, b'{"status": "success", "data": {"resultType": "vector", "result": []}}')
        else:
            self.answer(200, b"")

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if asked_to_end:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def handle_one_request(self):
        with lock:
            if not asked_to_end:
                idle.add(self.connection)
        super().handle_one_request()

    def parse_request(self):
        with lock:
            idle.discard(self.connection)
        return super().parse_request()

    def finish(self):
        with lock:
            idle.discard(self.connection)
        super().finish()

    def log_message(self, *arguments):
        pass


tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain("current/tls/server.crt", "current/tls/server.key")
tls.load_verify_locations("current/tls/ca.crt")
tls.verify_mode = ssl.CERT_REQUIRED


class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
    request_queue_size = 64

    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = listen, 9009

    def finish_request(self, request, client):
        # The handshake is each connection's own affair: a health check has none.
        try:
            super().finish_request(tls.wrap_socket(request, server_side=True), client)
        except OSError:
            pass


def hear_peers(peers):
    while True:
        peers.accept()[0].close()


def members():
    return [os.environ[f"DORAINFRA_MEMBER_{n}"] for n in (1, 2, 3)] if ha else [own]


ending = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ending.set())
threading.Thread(target=Server((listen, 9009), Handler).serve_forever, daemon=True).start()
ending.wait(BEGINS)
peers = socket.create_server((own, 9095))
threading.Thread(target=hear_peers, args=(peers,), daemon=True).start()
serving = True
print("engine: ready", flush=True)
ending.wait()
with lock:
    asked_to_end = True
    for connection in idle:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
print("engine: asked to end", flush=True)
time.sleep(delay)
# Nobody accepts any more, and peers see it.
serving = False
peers.shutdown(socket.SHUT_RDWR)
peers.close()
time.sleep(ENDS)
os._exit(0)
