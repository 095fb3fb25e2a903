"""Who may ask: the Host and Origin of a request and its token, checked before anything else looks at it."""

import hashlib
import ipaddress
import json
import secrets
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit


OPEN_PATHS = ("/health", "/favicon.ico")  # answered without a token
COOKIE = "muq_session"


class Gatekeeper:
    """ASGI middleware.

    - The Host header must be an address, "localhost" or one of `hosts`. A page of another site whose name is pointed at this
      machine afterwards ("DNS rebinding") comes with its own name.
    - Requests that a page of another site makes are refused, unless it is among `origins`, which get CORS headers.
    - With a `token`, requests bring it as "Authorization: Bearer TOKEN". Opening "/?token=TOKEN" once gives a browser a cookie.
    """

    def __init__(self, app, token: str | None = None, hosts: Iterable[str] = (), origins: Iterable[str] = (), headers=None):
        self.app, self.token = app, token
        self.hosts = {host.casefold() for host in hosts}
        self.origins = {origin.rstrip("/") for origin in origins}
        self.headers = headers or {}
        self.session = None if token is None else hashlib.sha256(b"muq session " + token.encode()).hexdigest()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        asked = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        origin = asked.get("origin", "").rstrip("/")
        extra = self.headers | self._cors(origin)
        if not self._knows_host(asked.get("host", "")):
            message = f"This server does not go by the name {asked.get('host', '')!r}: start it with --allow-host NAME."
            return await _refuse(send, 421, message, {})
        if self._is_foreign(scope, asked, origin):
            return await _refuse(send, 403, "Pages of other sites may not use this server (--allow-origin).", {})
        if scope["method"] == "OPTIONS" and origin in self.origins:
            return await _answer(send, 204, b"", extra)
        if self.token is not None and scope["path"] not in OPEN_PATHS:
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [None])[0]
            if scope["path"] == "/" and given is not None and _equal(given, self.token):
                cookie = f"{COOKIE}={self.session}; HttpOnly; SameSite=Strict; Path=/"
                return await _answer(send, 303, b"", {"Location": "/", "Set-Cookie": cookie})
            if scope["path"] != "/" and not self._has_token(asked):
                headers = {"WWW-Authenticate": "Bearer"} | extra
                return await _refuse(send, 401, "This server wants its token: open the address that it printed.", headers)

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                pairs = [(name.lower().encode(), value.encode()) for name, value in extra.items()]
                message = message | {"headers": [*message.get("headers", []), *pairs]}
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _knows_host(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").casefold()
            urlsplit(f"//{host}").port  # noqa: B018 - raises ValueError for a port that is none
        except ValueError:
            return False
        return name == "localhost" or name in self.hosts or "*" in self.hosts or _is_address(name)

    def _is_foreign(self, scope, asked: dict, origin: str) -> bool:
        if origin:
            return origin not in self.origins and urlsplit(origin).netloc.casefold() != asked.get("host", "").casefold()
        opens_the_page = scope["path"] == "/" and scope["method"] == "GET" and asked.get("sec-fetch-mode") == "navigate"
        return asked.get("sec-fetch-site") in ("cross-site", "same-site") and not opens_the_page

    def _has_token(self, asked: dict) -> bool:
        scheme, _, given = asked.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(given.strip(), self.token):
            return True
        cookies = (pair.strip().partition("=") for pair in asked.get("cookie", "").split(";"))
        return any(name == COOKIE and _equal(value, self.session) for name, _, value in cookies)

    def _cors(self, origin: str) -> dict[str, str]:
        if origin not in self.origins:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Range",
            "Access-Control-Allow-Methods": "GET, POST",
            "Vary": "Origin",
        }


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _equal(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


async def _refuse(send, status: int, message: str, headers: dict[str, str]) -> None:
    await _answer(send, status, json.dumps({"detail": message}).encode(), {"Content-Type": "application/json"} | headers)


async def _answer(send, status: int, body: bytes, headers: dict[str, str]) -> None:
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
