"""A Hugging Face hub on this machine: as much of its HTTP interface as an upload uses.

Repositories are created, files are asked about (preupload), large ones go to an LFS store with its
sha256 checked, and a commit ties them together. What arrives is kept as bytes.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

LARGE = (".safetensors", ".gguf")


@dataclasses.dataclass
class Hub:
    """What the server holds.

    Attributes:
        tokens: those that may write.
        repos: by name, whether private and the files of the last commit.
        objects: the LFS store, by sha256.
        commits: names and messages, in order.
    """

    address: str = ""
    tokens: tuple[str, ...] = ("hf_test",)
    repos: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    objects: dict[str, bytes] = dataclasses.field(default_factory=dict)
    commits: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)
    broken_store: bool = False

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and headers for one request."""
        for route_method, pattern, handle in ROUTES:
            found = re.fullmatch(pattern, path)
            if method == route_method and found:
                return handle(self, found, body)
        return 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"}


def create(hub: Hub, _: re.Match[str], body: bytes) -> tuple[int, Any, dict[str, str]]:
    asked = json.loads(body)
    name = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
    if name in hub.repos:
        return 409, {"error": "exists", "url": f"{hub.address}/{name}"}, {}
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    hub.repos[name] = {"private": private, "files": {}}
    return 200, {"url": f"{hub.address}/{name}", "name": name}, {}


def info(hub: Hub, found: re.Match[str], _: bytes) -> tuple[int, Any, dict[str, str]]:
    if found[1] not in hub.repos:
        return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
    repo = hub.repos[found[1]]
    answer = {"id": found[1], "private": repo["private"], "tags": [], "siblings": []}
    return 200, answer | {"sha": "0" * 40, "downloads": 0, "likes": 0}, {}


def preupload(hub: Hub, found: re.Match[str], body: bytes) -> tuple[int, Any, dict[str, str]]:
    files = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
            "shouldIgnore": False,
        }
        for file in json.loads(body)["files"]
    ]
    return 200, {"files": files}, {}


def batch(hub: Hub, found: re.Match[str], body: bytes) -> tuple[int, Any, dict[str, str]]:
    objects = []
    for one in json.loads(body)["objects"]:
        action = {} if one["oid"] in hub.objects else {"upload": _upload(hub, one["oid"])}
        objects.append({**one, **({"actions": action} if action else {})})
    return 200, {"transfer": "basic", "objects": objects}, {}


def _upload(hub: Hub, oid: str) -> dict[str, Any]:
    return {"href": f"{hub.address}/store/{oid}", "header": {}}


def store(hub: Hub, found: re.Match[str], body: bytes) -> tuple[int, Any, dict[str, str]]:
    if hub.broken_store or hashlib.sha256(body).hexdigest() != found[1]:
        return 400, {"error": "bad object"}, {}
    hub.objects[found[1]] = body
    return 200, {}, {}


def commit(hub: Hub, found: re.Match[str], body: bytes) -> tuple[int, Any, dict[str, str]]:
    files = hub.repos[found[1]]["files"]
    for line in body.decode().splitlines():
        entry = json.loads(line)
        value = entry["value"]
        if entry["key"] == "header":
            hub.commits.append((found[1], value["summary"]))
        elif entry["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            files[value["path"]] = hub.objects[value["oid"]]
    answer = {"commitUrl": f"{hub.address}/{found[1]}/commit/{'1' * 40}", "commitOid": "1" * 40}
    return 200, answer, {}


def yaml_valid(hub: Hub, _: re.Match[str], body: bytes) -> tuple[int, Any, dict[str, str]]:
    content = json.loads(body)["content"]
    errors = [] if content.startswith("---\n") else [{"message": "no metadata"}]
    return (400 if errors else 200), {"errors": errors, "warnings": []}, {}


REPO = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    ("POST", r"/api/repos/create", create),
    ("POST", r"/api/validate-yaml", yaml_valid),
    ("GET", rf"/api/models/{REPO}(?:/revision/main)?", info),
    ("POST", rf"/api/models/{REPO}/preupload/main", preupload),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", batch),
    ("PUT", r"/store/([0-9a-f]{64})", store),
    ("POST", rf"/api/models/{REPO}/commit/main", commit),
)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` at its `address` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            path = urlsplit(self.path).path
            body = self._body()
            hub.requests.append(f"{self.command} {path}")
            token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
            if token not in hub.tokens and not path.startswith("/store/"):
                status, value, more = 401, {"error": "Invalid credentials"}, {}
            else:
                status, value, more = hub.answer(self.command, path, body)
            content = json.dumps(value).encode()
            self.send_response(status)
            for key, text in more.items():
                self.send_header(key, text)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        do_GET = do_POST = do_PUT = do_HEAD = handle_one

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
