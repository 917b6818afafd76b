"""As much of a WebSocket as hearing a command takes, by the standard library alone."""
import base64
import os
import socket
import struct
from urllib.parse import urlsplit


def hear(uri, password=None, channels=True):
    """What came until the server closed: (channel, bytes) each, or bytes; None where it was refused."""
    address = urlsplit(uri)
    assert address.scheme == "ws", uri
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            f"GET {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        stream = connection.makefile("rb")
        status = stream.readline()
        while stream.readline().strip():
            pass
        if b" 101 " not in status:
            return None
        if password is not None:
            # A short text, masked with zeros.
            connection.sendall(bytes([0x81, 0x80 | len(password), 0, 0, 0, 0]) + password.encode())
        heard = []
        while True:
            first, length = stream.read(2)
            length &= 0x7F
            if length == 126:
                length, = struct.unpack(">H", stream.read(2))
            data = stream.read(length)
            if first & 0x0F == 8:
                return heard
            heard.append((data[0], data[1:]) if channels else data)
