"""The server as a process: limits that need sockets, and its end."""

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
from openai import OpenAI
from served_page import Server


pytestmark = pytest.mark.slow
LIMITS = ("--port", "0", "--queue", "8", "--upload-seconds", "1", "--max-upload-mb", "1")


@pytest.fixture(scope="module")
def server(table):
    server = Server(table, *LIMITS)
    yield server
    if server.process.poll() is None:
        server.stop(signal.SIGKILL)


def raw(server, head: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(server.port)), timeout=10)
    connection.sendall(head)
    return connection


def test_it_listens_on_this_machine_alone(server):
    assert "http://127.0.0.1:" in server.line
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with pytest.raises(OSError):
            socket.create_connection((own, int(server.port)), timeout=2)


def test_two_hundred_requests_at_once_are_answered_or_sent_away(server):
    def ask(number):
        return httpx2.get(f"{server.address}search", params={"text": f"song number {number}"}, timeout=30).status_code

    with ThreadPoolExecutor(200) as threads:
        codes = list(threads.map(ask, range(200)))
    assert set(codes) == {200, 429} and codes.count(200) >= 10
    assert httpx2.get(f"{server.address}search", params={"text": "afterwards"}).status_code == 200


def test_an_upload_that_never_ends_is_cut_off(server):
    """A byte now and then, and as many as the connection takes."""
    head = b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw(server, head) as slow:
        started = time.monotonic()
        for _ in range(4):
            slow.sendall(b"1\r\nx\r\n")
            time.sleep(0.2)
        assert b" 408 " in slow.recv(4096) and time.monotonic() - started < 5
    with raw(server, head) as wide:
        with pytest.raises(OSError):
            for _ in range(5000):
                wide.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
    assert httpx2.get(f"{server.address}health").status_code == 200


def test_openais_client_gets_vectors(server):
    client = OpenAI(base_url=server.address, api_key="none")
    answer = client.embeddings.create(model="muq-mulan-tiny", input=["calm piano", "heavy metal"])
    vectors = np.array([item.embedding for item in answer.data])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


def test_a_taken_port_is_told_in_a_sentence(server, table):
    with pytest.raises(RuntimeError, match=f"port {server.port} of 127.0.0.1 cannot be opened .*choose another one"):
        Server(table, "--port", server.port)


def test_ctrl_c_ends_it_cleanly_with_clients_connected(server):
    """One is in the middle of an upload. Comes last: it stops the server of this module."""
    with raw(server, b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nhalf"):
        time.sleep(0.2)
        code, errors = server.stop()
    assert code == 0 and errors.endswith("Stopped.\n") and "Traceback" not in errors
