"""An HTTP server of one file, on this machine, that misbehaves as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What it does, and what it was asked.

    Attributes:
        content: the file.
        statuses: answers to the next requests, in place of the file; 0: the file.
        cuts: bytes to send in answer to the next requests, before the connection breaks.
        has_ranges: whether it can send a part.
        redirects: how often it sends clients elsewhere first.
        announces_length: whether it says how long the file is.
        is_halted: it sends the second half of the file when `resumes` is set, and sets `half_sent` before.
        ranges: the Range of each request, or "".
    """

    content: bytes
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    has_ranges: bool = True
    redirects: int = 0
    announces_length: bool = True
    is_halted: bool = False
    ranges: list[str] = field(default_factory=list)
    address: str = ""
    resumes: threading.Event = field(default_factory=threading.Event)
    half_sent: threading.Event = field(default_factory=threading.Event)

    def url(self, name: str = "file") -> str:
        return f"{self.address}/{name}"


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            server.ranges.append(asked)
            if server.statuses and (status := server.statuses.pop(0)):
                self.send_error(status)
            elif (hops := int(self.path.partition("?")[2] or 0)) < server.redirects:
                self.send_response(302)
                self.send_header("Location", f"/file?{hops + 1}")
                self.end_headers()
            else:
                self._send_file(int(asked[len("bytes=") : -1]) if asked and server.has_ranges else None)

        def _send_file(self, start: int | None) -> None:
            body = server.content[start or 0 :]
            self.send_response(200 if start is None else 206)
            if server.announces_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = server.cuts.pop(0) if server.cuts else len(body)
            if server.is_halted:
                self.wfile.write(body[: len(body) // 2])
                server.half_sent.set()
                server.resumes.wait(60)
                body, cut = body[len(body) // 2 :], len(body)
            self.wfile.write(body[:cut])
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the client has gone
                super().handle()

    return Handler


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    server = Server(content)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.resumes.set()
        http.shutdown()
        http.server_close()
        thread.join()
