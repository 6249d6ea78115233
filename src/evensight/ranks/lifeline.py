"""Who of the ranks has ended, and how: known in a moment, whatever ended it, and by number.

gloo says that some connection was closed, after a collective was begun; NCCL says nothing for minutes. The kernel
closes a socket of a process however that process ends, so every rank keeps one to rank 0, and a thread waits on it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

# Seconds for the main thread to end by itself once another rank has; it may be waiting for a device that never answers.
PATIENCE = 20.0
LOST = 255  # instead of a status: the process ended without a word
_BROKEN = 4  # the exit status of statuses.py, which imports this module's users
_FRAME = struct.Struct("!iB")  # rank, status
_KEY = "evensight/lifeline"


class Lifeline:
    """Connects a rank with all others through rank 0. Costs nothing while nobody ends.

    Args:
        rank: Of this process.
        size: Ranks in all.
        store: A torch store that all ranks see.
        host: Where rank 0 is.
        sentence: What this process says if it has to be ended while the main thread hangs, from the ranks that were
            lost; None says nothing.
    """

    def __init__(self, rank: int, size: int, store: Any, host: str, sentence: Callable[[set[int]], str | None]) -> None:
        self.rank = rank
        self._sentence = sentence
        self._ended: dict[int, int] = {}
        self._trouble = threading.Event()
        self._closing = False
        self._peers = self._listened(size, store, host) if rank == 0 else {0: _connected(rank, store, host)}
        self._watcher = threading.Thread(target=self._watch, name="lifeline", daemon=True)
        self._watcher.start()

    @property
    def lost(self) -> set[int]:
        """The ranks whose processes ended without a word."""
        return {rank for rank, status in self._ended.items() if status == LOST}

    def trouble(self, seconds: float = 0.0) -> bool:
        """Returns whether another rank has ended otherwise than done, waiting so long to hear of it."""
        return self._trouble.wait(seconds)

    def status_of_others(self) -> int:
        """Returns the status that a rank which failed gave, 0 where none did."""
        return next((status for status in self._ended.values() if status not in (0, LOST)), 0)

    def close(self, status: int) -> None:
        """Tells the others how this rank ends; from then on nothing is heard."""
        self._closing = True
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.sendall(_FRAME.pack(self.rank, status))
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_WR)

    def _listened(self, size: int, store: Any, host: str) -> dict[int, socket.socket]:
        token = secrets.token_bytes(16)  # a stranger who finds the port is no rank
        peers: dict[int, socket.socket] = {}
        with _server(host) as server:
            store.set(_KEY, token.hex() + f":{server.getsockname()[1]}")
            while len(peers) < size - 1:
                connection, _ = server.accept()
                connection.settimeout(60)
                with contextlib.suppress(OSError):
                    hello = connection.recv(20, socket.MSG_WAITALL)
                    if hello[:16] == token:
                        peers[struct.unpack("!i", hello[16:])[0]] = _kept(connection)
        return peers

    def _watch(self) -> None:
        with selectors.DefaultSelector() as waiting:
            for rank, peer in self._peers.items():
                waiting.register(peer, selectors.EVENT_READ, rank)
            while waiting.get_map():
                for key, _ in waiting.select():
                    if not self._heard(self._peers[key.data], key.data):
                        waiting.unregister(key.fileobj)
                if self._trouble.is_set() and not self._closing:
                    self._hurry()

    def _heard(self, peer: socket.socket, rank: int) -> bool:
        """Takes in one message; returns whether more may come."""
        try:
            frame = peer.recv(_FRAME.size, socket.MSG_WAITALL)
        except OSError:
            frame = b""
        if len(frame) == _FRAME.size:
            self._note(*_FRAME.unpack(frame))
            return True
        if rank not in self._ended:
            self._note(rank, LOST)
        return False

    def _note(self, rank: int, status: int) -> None:
        self._ended.setdefault(rank, status)
        if status == 0:
            return
        self._trouble.set()
        if self.rank == 0:  # the others hear of it through us
            for other, peer in self._peers.items():
                if other != rank:
                    with contextlib.suppress(OSError):
                        peer.sendall(_FRAME.pack(rank, status))

    def _hurry(self) -> None:
        """Gives the main thread its time to end by itself, then ends the process."""
        threading.Event().wait(PATIENCE)
        if self._closing:
            return
        sentence = self._sentence(self.lost) if self.lost else None
        if sentence is not None:
            print(f"evensight: {sentence}", file=sys.stderr, flush=True)
        os._exit(_BROKEN if self.lost else self.status_of_others())


def _connected(rank: int, store: Any, host: str) -> socket.socket:
    token, port = store.get(_KEY).decode().split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(bytes.fromhex(token) + struct.pack("!i", rank))
    return _kept(connection)


def _server(host: str) -> socket.socket:
    try:
        server = socket.create_server((host, 0))
    except OSError:  # a name that other machines know and this one does not
        server = socket.create_server(("", 0))
    server.settimeout(600)
    return server


def _kept(connection: socket.socket) -> socket.socket:
    """Makes the kernel notice within 40 s that the other machine is gone."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):  # not every system has all three
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection
