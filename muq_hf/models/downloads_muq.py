"""Audio files at http(s) addresses: bounded in size and time, and never led to a private network by a redirect."""

import contextlib
import http.client
import io
import ipaddress
import time
import urllib.error
import urllib.parse
import urllib.request

from .samples_muq import AudioError


DOWNLOAD_TIMEOUT = 300.0  # seconds for a whole file
SILENCE_TIMEOUT = 60.0  # seconds without an answer
MAX_DOWNLOAD_BYTES = 1 << 29  # four hours of MP3, one and a half of WAV; the file lies in memory
PIECE = 1 << 16  # bytes
NOT_FOUND = (404, 410)  # HTTP status
URL_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"  # that stay as they are; spaces and letters with accents are quoted


def download(url: str, timeout: float = DOWNLOAD_TIMEOUT, max_bytes: int = MAX_DOWNLOAD_BYTES) -> io.BytesIO:
    """The file at an address, named by it. Raises AudioError, also for more than `max_bytes` or `timeout` seconds.

    A redirect may lead to another http(s) address of a public network, or to another path of the same server.
    """
    deadline = time.monotonic() + timeout
    parts = urllib.parse.urlsplit(url)
    name = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    address = urllib.parse.quote(url, safe=URL_CHARACTERS)
    request = urllib.request.Request(address, headers={"User-Agent": "muq_hf"})  # some servers refuse Python's own
    opener = urllib.request.build_opener(_Redirects, _PlainHandler, _SecureHandler)
    file, too_large = io.BytesIO(), f"it is larger than {max_bytes} bytes (`max_download_bytes`)"
    try:
        with opener.open(request, timeout=min(timeout, SILENCE_TIMEOUT)) as response:
            declared = int(response.headers.get("Content-Length") or 0)
            _require(declared <= max_bytes, name, too_large)
            while data := response.read1(PIECE):
                file.write(data)
                _require(file.tell() <= max_bytes, name, too_large)
                _require(time.monotonic() < deadline, name, f"it took longer than {timeout:g} s (`timeout`)")
            _require(declared <= file.tell(), name, f"the connection ended after {file.tell()} of {declared} bytes")
    except urllib.error.HTTPError as error:
        reason = "missing" if error.code in NOT_FOUND else "unreadable"
        raise AudioError(reason, f"Cannot download {name}: {error}.") from error
    except AudioError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise AudioError("unreadable", f"Cannot download {name}: {error}.") from error
    file.name = name
    return file


def _require(condition: bool, name: str, otherwise: str) -> None:
    if not condition:
        raise AudioError("unreadable", f"Cannot download {name}: {otherwise}.")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects on http(s); the connection to another server is one to a public address only."""

    def redirect_request(self, request, response, code, message, headers, new_url):
        before, after = urllib.parse.urlsplit(request.full_url), urllib.parse.urlsplit(new_url)
        if after.scheme not in ("http", "https"):
            raise OSError(f"it leads to {after.scheme}, which is neither http nor https")
        is_same_server = (before.scheme, before.netloc) == (after.scheme, after.netloc)
        if not is_same_server:
            with contextlib.suppress(ValueError):  # a name: where it leads is known once there is a connection
                _require_public(ipaddress.ip_address((after.hostname or "").partition("%")[0]))
        redirected = super().redirect_request(request, response, code, message, headers, new_url)
        if redirected is not None:
            redirected.is_public_only = getattr(request, "is_public_only", False) or not is_same_server
        return redirected


class _PlainConnection(http.client.HTTPConnection):
    is_public_only = False

    def connect(self):
        super().connect()
        _refuse_private(self)


class _SecureConnection(http.client.HTTPSConnection):
    is_public_only = False

    def connect(self):
        super().connect()
        _refuse_private(self)


def _refuse_private(connection) -> None:
    """Check the address at the other end, which no name server can change any more."""
    if connection.is_public_only:
        try:
            _require_public(ipaddress.ip_address(connection.sock.getpeername()[0].partition("%")[0]))
        except OSError:
            connection.close()
            raise


def _require_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    address = getattr(address, "ipv4_mapped", None) or address
    if not address.is_global:
        raise OSError(f"a redirect leads to {address}, an address of a private network")


def _open_with(kind, handler, request):
    """Through a proxy the other end is the proxy, which may well be in a private network: it decides where names lead."""
    is_proxied = request.has_proxy() or getattr(request, "_tunnel_host", None) is not None

    def connect(*arguments, **options):
        connection = kind(*arguments, **options)
        connection.is_public_only = getattr(request, "is_public_only", False) and not is_proxied
        return connection

    return handler.do_open(connect, request)


class _PlainHandler(urllib.request.HTTPHandler):
    def http_open(self, request):
        return _open_with(_PlainConnection, self, request)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, request):
        return _open_with(_SecureConnection, self, request)
