"""A local HTTP server with given answers, and servers that fail in one way each."""

from __future__ import annotations

import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server.owner
        server.requests.append((self.path, dict(self.headers)))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        answer(self)

    def log_message(self, *arguments):
        pass

    def head(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class _HTTPServer(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the tests


class Server:
    """Answers each request with the next of `answers`, and the last one for ever."""

    def __init__(self):
        self.answers, self.requests = [], []
        self.over = threading.Event()
        self._server = _HTTPServer(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def encrypt(self, context):
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    def close(self):
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def whole(data, **headers):
    """Serves the whole file, whatever part was asked for."""

    def answer(handler):
        handler.head(Content_Length=len(data), **headers)
        handler.wfile.write(data)

    return answer


def cut(data, after, **headers):
    """Promises a file, and hangs up in the middle of it."""

    def answer(handler):
        handler.head(Content_Length=len(data), **headers)
        handler.wfile.write(data[:after])

    return answer


def stalled(data, after, **headers):
    """Promises a file, and falls silent in the middle of it."""

    def answer(handler):
        handler.head(Content_Length=len(data), **headers)
        handler.wfile.write(data[:after])
        handler.server.owner.over.wait()

    return answer


def ranged(data, shift=0, total=None, **headers):
    """Serves the part that was asked for, or claims to."""

    def answer(handler):
        start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
        place = f"bytes {start + shift}-{len(data) - 1}/{total or len(data)}"
        handler.head(206, Content_Range=place, Content_Length=len(data) - start, **headers)
        handler.wfile.write(data[start:])

    return answer


def unsized(data):
    """Serves a file without its size."""

    def answer(handler):
        handler.head()
        handler.wfile.write(data)

    return answer


def reset(handler):
    """Breaks the connection off."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RDWR)


def status(code, **headers):
    """Answers with nothing but a status."""
    return lambda handler: handler.head(code, Content_Length=0, **headers)
