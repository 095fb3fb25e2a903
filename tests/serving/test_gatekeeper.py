"""Who may ask: a small application behind the gatekeeper, called as ASGI."""

import asyncio

import pytest

from muq_hf.serving.gatekeeper import COOKIE, Gatekeeper


HERE = {"host": "127.0.0.1:8000"}


async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


def ask(gate, path="/songs", headers=HERE, method="GET", query=""):
    """→ status, headers by name."""
    sent = []

    async def send(message):
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": pairs}
    asyncio.run(gate(scope, None, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "192.168.0.7:8000", "mine.example"])
def test_addresses_and_own_names_are_known(host):
    assert ask(Gatekeeper(application, hosts=["mine.example"]), headers={"host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "", "a b", "x:99999999", "["],
)
def test_a_name_that_was_pointed_at_this_machine_is_refused(host):
    """DNS rebinding: the browser sends the attacker's name."""
    assert ask(Gatekeeper(application), headers={"host": host})[0] == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ],
)
def test_pages_of_other_sites_are_refused(headers):
    for method in ("GET", "POST", "OPTIONS"):
        status, answered = ask(Gatekeeper(application), headers=HERE | headers, method=method)
        assert status == 403 and "access-control-allow-origin" not in answered


def test_a_link_from_elsewhere_opens_the_page_and_nothing_else():
    link = HERE | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert ask(Gatekeeper(application), "/", link)[0] == 200
    assert ask(Gatekeeper(application), "/songs/0/audio", link)[0] == 403


def test_its_own_page_and_allowed_sites_may_ask():
    assert ask(Gatekeeper(application), headers=HERE | {"origin": "http://127.0.0.1:8000"})[0] == 200
    gate = Gatekeeper(application, origins=["https://friend.example/"])
    status, answered = ask(gate, headers=HERE | {"origin": "https://friend.example", "sec-fetch-site": "cross-site"})
    assert status == 200 and answered["access-control-allow-origin"] == "https://friend.example"
    preflight = HERE | {"origin": "https://friend.example", "access-control-request-method": "POST"}
    assert ask(gate, method="OPTIONS", headers=preflight)[0] == 204


def test_a_token_lets_in_by_header_or_by_the_cookie_of_its_address():
    gate = Gatekeeper(application, token="s3cret")
    assert ask(gate)[0] == 401
    for wrong in ("Bearer s3cre", "Bearer s3cret2", "Bearer ", "Basic s3cret", "s3cret"):
        assert ask(gate, headers=HERE | {"authorization": wrong})[0] == 401
    assert ask(gate, headers=HERE | {"authorization": "Bearer s3cret"})[0] == 200
    assert ask(gate, query="token=s3cret")[0] == 401  # in an address it would be kept in logs
    status, answered = ask(gate, "/", query="token=s3cret")
    assert status == 303 and answered["location"] == "/"
    cookie = answered["set-cookie"].split(";")[0]
    assert "HttpOnly" in answered["set-cookie"] and "s3cret" not in cookie
    assert ask(gate, headers=HERE | {"cookie": f"other=1; {cookie}"})[0] == 200
    assert ask(gate, headers=HERE | {"cookie": f"{COOKIE}=s3cret"})[0] == 401
    assert "set-cookie" not in ask(gate, "/", query="token=wrong")[1]
    assert ask(gate, "/health")[0] == 200
