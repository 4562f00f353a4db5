"""A Hugging Face hub of our own: the part of its HTTP interface that fetching and pushing a model uses."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_the_tests"
GATED, PRESENT = "someone/gated", "someone/present"


class FakeHub(ThreadingHTTPServer):
    """Serves `model` as someone/present, and to no one as someone/gated; keeps what is pushed in `pushed`."""

    daemon_threads = True

    def __init__(self, model: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self.large_files: dict[str, bytes] = {}
        self.pushed: dict[str, dict[str, bytes]] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def fake_hub(model: Path) -> Iterator[FakeHub]:
    """Run a hub until the block ends."""
    hub = FakeHub(model)
    thread = threading.Thread(target=hub.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._read(with_body=True)

    def do_HEAD(self) -> None:
        self._read(with_body=False)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._error(401, "Unauthorized")
        elif self.path == "/api/repos/create":
            repo = json.loads(body)
            name = f"{repo.get('organization') or 'someone'}/{repo['name']}"
            self._json({"url": f"{self.server.address}/{name}", "name": name, "id": name})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            files = [
                {**file, "uploadMode": self._mode(file["path"]), "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._json(
                {"transfer": "basic", "objects": [self._upload_of(item) for item in json.loads(body)["objects"]]}
            )
        elif match := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            self._commit(match[1], body)
        else:
            self._error(404, "EntryNotFound")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.large_files[hashlib.sha256(content).hexdigest()] = content
        self._json({})

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output quiet."""

    def _read(self, *, with_body: bool) -> None:
        if self.path == "/api/whoami-v2":
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            self._json({"name": "someone", "type": "user"}) if known else self._error(401, "Unauthorized")
        elif self.path.startswith((f"/{GATED}/", f"/api/models/{GATED}")):
            self._error(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        elif match := re.fullmatch(rf"/{PRESENT}/resolve/[^/]+/(.+)", self.path):
            self._file(self.server.model / match[1], with_body=with_body)
        elif self.path.startswith(f"/api/models/{PRESENT}/tree/"):
            files = self.server.model.iterdir()
            self._json([{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": COMMIT} for f in files])
        elif self.path.startswith(f"/api/models/{PRESENT}"):
            self._json(self._model_info())
        else:
            self._error(404, "RepoNotFound")

    def _model_info(self) -> dict[str, object]:
        files = [{"rfilename": file.name, "size": file.stat().st_size} for file in self.server.model.iterdir()]
        return {
            "id": PRESENT,
            "sha": COMMIT,
            "siblings": files,
            "private": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }

    def _file(self, path: Path, *, with_body: bool) -> None:
        if not path.is_file():
            self._error(404, "EntryNotFound")
            return
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self._send(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}, with_body=with_body)

    def _mode(self, path: str) -> str:
        return "lfs" if path.endswith(".safetensors") else "regular"

    def _upload_of(self, item: dict[str, object]) -> dict[str, object]:
        return {**item, "actions": {"upload": {"href": f"{self.server.address}/put/{item['oid']}"}}}

    def _commit(self, repo: str, body: bytes) -> None:
        files = self.server.pushed.setdefault(repo, {})
        for operation in map(json.loads, body.splitlines()):
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.server.large_files[value["oid"]]
        url = f"{self.server.address}/{repo}/commit/{COMMIT}"
        self._json({"success": True, "commitOid": COMMIT, "commitUrl": url})

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, with_body: bool = True) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body and self.command != "HEAD":
            self.wfile.write(content)
