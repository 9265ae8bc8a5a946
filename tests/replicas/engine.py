#!/usr/bin/python3
"""As much of Mimir as three machines behind a load balancer need: mutual TLS on
the port for clients, readiness, and a ring of those that answer on the port that only
the machines reach."""
import http.server, json, os, re, socket, ssl, sys, threading

if "-version" in sys.argv or "--version" in sys.argv:
    # Of no release: whatever version is configured.
    print("Mimir, version (branch: test)")
    sys.exit()
options = dict(a.lstrip("-").split("=", 1) for a in sys.argv[1:] if "=" in a)
text = open(options["config.file"]).read()
if '"900d"' in text:
    print("error: this configuration is refused", flush=True)
    sys.exit(1)
# As Mimir from 3.1 on does: for the ring of its queriers it looks for an address among the
# machine's, if it is told none. What looks asks the kernel, which a confined unit may not.
querier = re.search(r"^querier:\n(?:[ #].*\n)*", text, re.M)
if "instance_addr" not in querier.group():
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
ha = "memberlist:" in text
own, listen = os.environ["DORAINFRA_ADDRESS"], os.environ["DORAINFRA_LISTEN"]
os.makedirs("data/tsdb", exist_ok=True)
open("data/tsdb/starts", "a").write("start\n")


def state(address):
    try:
        socket.create_connection((address, 9095), 1).close()
        return "ACTIVE"
    except OSError:
        return "UNHEALTHY"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        # As Mimir says it: without the end of a line.
        body = b"ready"
        if self.path == "/ingester/ring":
            members = [os.environ[f"DORAINFRA_MEMBER_{n}"] for n in (1, 2, 3)] if ha else [own]
            shards = [{"id": a, "state": state(a), "address": a, "zone": "z"} for a in members]
            body = json.dumps({"shards": shards}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

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


def hear_peers(peers=socket.create_server((own, 9095))):
    while True:
        peers.accept()[0].close()


threading.Thread(target=hear_peers, daemon=True).start()
print("engine: ready", flush=True)
Server((listen, 9009), Handler).serve_forever()
