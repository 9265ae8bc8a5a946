#!/usr/bin/python3
import http.server, os, ssl, sys
if "--version" in sys.argv:
    print("prometheus, version 2.42.0")
    sys.exit()
options = dict(a.split("=", 1) for a in sys.argv[1:] if "=" in a)
print("engine: loading", options["--config.file"], flush=True)
if '"400d"' not in open(options["--config.file"]).read() and '"300d"' not in open(options["--config.file"]).read():
    print("engine: error: not a duration in", options["--config.file"], flush=True)
    sys.exit(1)
os.makedirs(options["--storage.tsdb.path"], exist_ok=True)
open("data/starts", "a").write("start\n")
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"Prometheus Server is Ready.\n"
        self.send_response(200 if self.path == "/prometheus/-/ready" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
host, port = options["--web.listen-address"].rsplit(":", 1)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain("current/tls/server.crt", "current/tls/server.key")
tls.load_verify_locations("current/tls/ca.crt")
tls.verify_mode = ssl.CERT_REQUIRED
class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = host, int(port)
server = Server((host, int(port)), Handler, bind_and_activate=False)
server.allow_reuse_address = True
server.socket.setsockopt(__import__("socket").SOL_SOCKET, __import__("socket").SO_REUSEADDR, 1)
server.server_bind()
server.server_activate()
server.socket = tls.wrap_socket(server.socket, server_side=True)
print("engine: ready", flush=True)
server.serve_forever()
