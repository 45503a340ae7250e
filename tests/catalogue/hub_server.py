"""A server that speaks the few calls of the Hugging Face hub that fetching a model needs."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 2_000
"""Bytes from which a file has its digest on the hub, as files in git's large file storage have."""


class Hub:
    """Serves the sub-sub-folders of a folder as repositories, `owner/name`.

    Attributes:
        root: The folder.
        breaks_after: File whose transfer breaks in its middle, as long as it is set.
        damages: File that arrives with a changed byte.
        sent: Bytes sent by file.
        ranges: Where transfers were asked to begin, by file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.breaks_after = ""
        self.damages = ""
        self.sent: dict[str, int] = {}
        self.ranges: dict[str, list[int]] = {}
        self.address = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"] and parts[4:5] == ["tree"]:
            self._list("/".join(parts[2:4]))
        elif parts[:2] == ["api", "models"]:
            self._describe("/".join(parts[2:4]))
        elif "resolve" in parts:
            self._send("/".join(parts[:2]), "/".join(parts[4:]), body=body)
        else:
            self._refuse("EntryNotFound")

    def _describe(self, name: str) -> None:
        folder = self.hub.root / name
        if not folder.is_dir():
            self._refuse("RepoNotFound")
            return
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        siblings = [sibling(file, file.relative_to(folder).as_posix()) for file in files]
        data = json.dumps({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}).encode()
        self._head(200, len(data))
        self.wfile.write(data)

    def _list(self, name: str) -> None:
        folder = self.hub.root / name
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        entries = [
            {"type": "file", "path": file.relative_to(folder).as_posix(), "size": file.stat().st_size, "oid": "0" * 40}
            for file in files
        ]
        data = json.dumps(entries).encode()
        self._head(200, len(data))
        self.wfile.write(data)

    def _send(self, name: str, path: str, *, body: bool) -> None:
        file = self.hub.root / name / path
        if not file.is_file():
            self._refuse("EntryNotFound")
            return
        data = bytearray(file.read_bytes())
        etag = hashlib.sha256(data).hexdigest()
        if path == self.hub.damages:
            data[-1] ^= 1
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._head(206 if start else 200, len(data) - start, headers)
        if body:
            self.hub.ranges.setdefault(path, []).append(start)
            end = len(data) // 2 if path == self.hub.breaks_after else len(data)
            self.wfile.write(data[start:end])
            self.hub.sent[path] = self.hub.sent.get(path, 0) + max(0, end - start)
            self.close_connection = end < len(data)

    def _refuse(self, code: str) -> None:
        self._head(404, 0, {"X-Error-Code": code})

    def _head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""


@contextmanager
def running_hub(root: Path) -> Iterator[Hub]:
    """A hub on loopback."""
    hub = Hub(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sibling(file: Path, path: str) -> dict[str, Any]:
    """How the hub describes a file."""
    size = file.stat().st_size
    described: dict[str, Any] = {"rfilename": path, "size": size, "blobId": "0" * 40}
    if size >= LARGE:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        described["lfs"] = {"sha256": digest, "size": size, "pointerSize": 134}
    return described
