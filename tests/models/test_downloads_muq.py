"""Downloads are bounded, named without their queries, and no redirect leads from a public server into a private network."""

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from audio_files import encode, music

from muq_hf.audio import AudioError, load_audio
from muq_hf.models.downloads_muq import download


SONG = encode(music(0.5), 44_100, "WAV")


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/redirect":
            self.send_response(302)
            self.send_header("Location", query)
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        try:
            if path == "/endless":
                while True:
                    self.wfile.write(bytes(1 << 16))
            if path == "/drops":
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            self.wfile.write(SONG)
        except OSError:  # the client has gone
            pass

    def log_message(self, *arguments): ...


@pytest.fixture
def servers():
    """The addresses of two servers."""
    running = [ThreadingHTTPServer(("127.0.0.1", 0), Server) for _ in range(2)]
    for server in running:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [f"http://127.0.0.1:{server.server_address[1]}" for server in running]
    for server in running:
        server.shutdown()
        server.server_close()


def refused(url: str, **bounds) -> str:
    with pytest.raises(AudioError) as caught:
        download(url, **bounds)
    assert caught.value.reason == "unreadable"
    return str(caught.value)


def test_a_file_that_never_ends_is_refused(servers):
    assert "larger than 1000000 bytes" in refused(f"{servers[0]}/endless", max_bytes=1_000_000)


def test_a_file_that_comes_in_drops_is_refused(servers):
    started = time.monotonic()
    assert "longer than 0.5 s" in refused(f"{servers[0]}/drops", timeout=0.5)
    assert time.monotonic() - started < 3


def test_the_name_has_no_query(servers):
    """It may hold a secret, and its end is no suffix of the file."""
    file = download(f"{servers[0]}/song.wav?token=secret&format=.mp3#part")
    assert file.name == f"{servers[0]}/song.wav"
    assert len(load_audio(file)) == 12_000


def test_a_redirect_to_the_same_server_is_followed(servers):
    assert download(f"{servers[0]}/redirect?/song.wav").getvalue() == SONG


def test_a_redirect_to_another_server_of_a_private_network_is_refused(servers):
    assert "private network" in refused(f"{servers[0]}/redirect?{servers[1]}/song.wav")
    again = f"{servers[0]}/redirect?{servers[0]}/redirect?{servers[1]}/song.wav"
    assert "private network" in refused(again)


class Proxy(BaseHTTPRequestHandler):
    """Answers every address itself: /to?ADDRESS with a redirect, others with a song; gives no tunnels."""

    def do_GET(self):
        self.server.asked.append(self.path)
        target = self.path.partition("/to?")[2]
        self.send_response(302 if target else 200)
        if target:
            self.send_header("Location", target)
        self.end_headers()
        self.wfile.write(SONG)

    def do_CONNECT(self):
        self.server.asked.append(self.path)
        self.send_error(403)

    def log_message(self, *arguments): ...


@pytest.fixture
def proxy(monkeypatch):
    """A proxy in a private network, which the environment names → what it was asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("no_proxy", "")
    yield server.asked
    server.shutdown()
    server.server_close()


def test_the_environments_proxy_is_used_and_may_be_in_a_private_network(proxy):
    assert download("http://music.example/to?http://other.example/song.wav").getvalue() == SONG
    assert proxy == ["http://music.example/to?http://other.example/song.wav", "http://other.example/song.wav"]
    assert "Tunnel connection failed: 403" in refused("http://music.example/to?https://other.example/song.wav")
    assert proxy[-1] == "other.example:443"


@pytest.mark.parametrize("address", ["http://10.0.0.1/song.wav", "https://[::1]/song.wav", "http://[::ffff:192.168.0.1]/"])
def test_a_redirect_to_a_private_address_is_refused_before_a_proxy_is_asked(proxy, address):
    assert "private network" in refused(f"http://music.example/to?{address}")
    assert len(proxy) == 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/song.wav", "data:audio/wav,x"])
def test_a_redirect_to_another_protocol_is_refused(servers, target):
    assert re.search("neither http nor https|not allowed", refused(f"{servers[0]}/redirect?{target}"))
