"""A Hub in memory on 127.0.0.1: just enough of its protocol to create, upload, list and download model repositories."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse


REPOS: dict[str, dict[str, bytes]] = {}  # repository id → path → content
LARGE_FILES: dict[str, bytes] = {}  # SHA-256 → content
REPO = r"(?P<repo>\w+/[\w.-]+)"


def commit_of(repo: str) -> str:
    content = sorted((path, hashlib.sha1(data).hexdigest()) for path, data in REPOS[repo].items())
    return hashlib.sha1(json.dumps(content).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def handle_any(self):
        path, body = unquote(urlparse(self.path).path), self._body()
        for pattern, answer in ROUTES:
            if match := re.fullmatch(pattern, path):
                return answer(self, body, **match.groupdict())
        return self.reply({"error": "no such route"}, status=404)

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = b""
        while size := int(self.rfile.readline(), 16):
            chunks += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return chunks

    def reply(self, body, status=200, headers=()):
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), [*headers, ("Content-Type", "application/json")]
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def base(self) -> str:
        return f"http://{self.headers['Host']}"

    def create(self, body):
        request = json.loads(body)
        repo = f"{request.get('organization') or 'me'}/{request['name']}"
        REPOS.setdefault(repo, {})
        self.reply({"url": f"{self.base()}/{repo}", "name": repo, "id": repo})

    def who_am_i(self, body):
        self.reply({"name": "me", "type": "user", "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def validate_card(self, body):
        self.reply({"warnings": [], "errors": []})

    def preupload(self, body, repo):
        files = json.loads(body)["files"]
        modes = {file["path"]: "lfs" if file["path"].endswith(".safetensors") else "regular" for file in files}
        self.reply({"files": [{"path": p, "uploadMode": mode, "shouldIgnore": False, "oid": None} for p, mode in modes.items()]})

    def large_file_batch(self, body, repo):
        objects = json.loads(body)["objects"]
        for item in objects:
            item["actions"] = {"upload": {"href": f"{self.base()}/large/{item['oid']}"}}
        self.reply({"transfer": "basic", "objects": objects})

    def large_file(self, body, oid):
        LARGE_FILES[oid] = body
        self.reply({})

    def commit(self, body, repo):
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                REPOS[repo][value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                REPOS[repo][value["path"]] = LARGE_FILES[value["oid"]]
        sha = commit_of(repo)
        self.reply({"commitUrl": f"{self.base()}/{repo}/commit/{sha}", "commitOid": sha, "hookOutput": "", "success": True})

    def tree(self, body, repo):
        entries = REPOS.get(repo, {}).items()
        self.reply([{"type": "file", "path": p, "size": len(d), "oid": hashlib.sha1(d).hexdigest()} for p, d in entries])

    def info(self, body, repo):
        if repo not in REPOS:
            return self.reply({"error": "not found"}, 404, [("X-Error-Code", "RepoNotFound")])
        siblings = [{"rfilename": path} for path in REPOS[repo]]
        return self.reply(
            {"id": repo, "modelId": repo, "sha": commit_of(repo), "private": False, "tags": [], "siblings": siblings}
        )

    def download(self, body, repo, path):
        if repo not in REPOS:
            return self.reply(b"", 404, [("X-Error-Code", "RepoNotFound")])
        sha = [("X-Repo-Commit", commit_of(repo))]
        if path not in REPOS[repo]:
            return self.reply(b"", 404, [("X-Error-Code", "EntryNotFound"), *sha])
        data = REPOS[repo][path]
        return self.reply(data, 200, [("ETag", f'"{hashlib.sha256(data).hexdigest()}"'), *sha])


ROUTES = [
    (r"/api/repos/create", Handler.create),
    (r"/api/whoami-v2", Handler.who_am_i),
    (r"/api/validate-yaml", Handler.validate_card),
    (rf"/api/models/{REPO}/preupload/.+", Handler.preupload),
    (rf"/{REPO}\.git/info/lfs/objects/batch", Handler.large_file_batch),
    (r"/large/(?P<oid>\w+)", Handler.large_file),
    (rf"/api/models/{REPO}/commit/.+", Handler.commit),
    (rf"/api/models/{REPO}/tree/.+", Handler.tree),
    (rf"/api/models/{REPO}(?:/revision/.+)?", Handler.info),
    (rf"/{REPO}/resolve/[^/]+/(?P<path>.+)", Handler.download),
]


def start() -> ThreadingHTTPServer:
    """Serve on a free port in a background thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
