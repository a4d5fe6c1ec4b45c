"""An agent that is no app of ours: a script with a server of its own, which answers with what it was told."""

from __future__ import annotations

SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"status": "Healthy"})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        places = [os.environ.get(name) for name in ("PORT", "PPIO_AGENT_PORT", "PPIO_AGENT_HOST")]
        self.answer({"asked": asked, "places": places, "name": __name__, "arguments": sys.argv})
    def answer(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *arguments):
        pass

"""
ON_PORT = 'HTTPServer((os.environ["PPIO_AGENT_HOST"], int(os.environ["PORT"])), Handler).serve_forever()\n'
