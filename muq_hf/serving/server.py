"""The server process: a port, the application, and a clean end."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI


SECONDS_TO_FINISH = 1  # for requests that are running when the server is stopped


def is_local(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """An open socket; port 0 takes a free one. Raises ValueError where it is taken or not allowed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"port {port} of {host} cannot be opened ({reason}): choose another one with --port.") from None
    return listener


def serve(app: FastAPI, listener: socket.socket, started: Callable[[], None]) -> None:
    """Answer requests until SIGINT or SIGTERM; `started` is called when the first one would be answered."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )
    server = _AnnouncingServer(config, started)
    try:
        asyncio.run(server.serve(sockets=[listener]))
    except KeyboardInterrupt:  # uvicorn raises the signal again once all is closed
        pass


class _AnnouncingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]):
        super().__init__(config)
        self._announce = started

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        self._announce()
