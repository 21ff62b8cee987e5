"""A plain web server on this machine that publishes a folder, as any would; or answers what a test wants instead."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

#: Status, headers and body of what is answered to a path instead of what the folder has; nothing: the folder's.
Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def served(folder: Path, instead: Callable[[str], Answer | None] = lambda path: None) -> Iterator[str]:
    """The address of the folder; every path that is asked for goes through ``instead`` first."""
    with _Server(("127.0.0.1", 0), partial(_Handler, directory=str(folder), instead=instead)) as server:
        running = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        running.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            running.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *about: Any) -> None:
        """Whoever asked has gone before the answer ended."""


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are written apart: each would wait 40 ms for the other

    def __init__(self, *given: Any, instead: Callable[[str], Answer | None], directory: str) -> None:
        self._instead = instead
        super().__init__(*given, directory=directory)

    def do_GET(self) -> None:
        answer = self._instead(self.path)
        if answer is None:
            return super().do_GET()
        status, headers, body = answer
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: Any) -> None:
        """Nobody reads it."""
