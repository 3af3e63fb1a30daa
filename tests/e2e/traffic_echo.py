# SPDX-License-Identifier: Apache-2.0
"""The echo server and its many clients, each a program of its own in a pod's namespace (see test_traffic.py).

    traffic_echo.py serve PORT                        tell each client the address that it reached, then echo
    traffic_echo.py ask SECONDS COUNT PORT ADDRESS... COUNT connections that last, and new ones all the time; one JSON document at the end
"""
import collections
import json
import selectors
import socket
import sys
import time


def listen(port):
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::", port))
    s.listen(1024)
    s.setblocking(False)
    return s


def serve(port):
    loop, door = selectors.DefaultSelector(), listen(port)
    loop.register(door, selectors.EVENT_READ)
    print("listening", flush=True)
    while True:
        for key, _ in loop.select():
            s = key.fileobj
            try:
                if s is door:
                    c, _ = door.accept()
                    name = c.getsockname()[0].removeprefix("::ffff:")
                    c.sendall(name.encode() + b"\n")
                    loop.register(c, selectors.EVENT_READ)
                    continue
                data = s.recv(65536)
                if data:
                    s.sendall(data)
                    continue
            except OSError:
                if s is door:
                    continue
            loop.unregister(s)
            s.close()


class Client:
    """One connection: a message numbered N goes out when N - 1 has come back."""

    def __init__(self, address, port, last):
        self.s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.s.setblocking(False)
        self.address, self.last, self.due = address, last, None
        self.n, self.backend, self.wanted, self.got, self.hello, self.since = 0, None, b"", b"", b"", time.monotonic()
        try:
            self.s.connect((address, port))
        except BlockingIOError:
            pass

    def read(self):
        """False when it is over. Raises OSError when it breaks."""
        data = self.s.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self.since = time.monotonic()
        if self.backend is None:
            self.hello += data
            if b"\n" not in self.hello:
                return True
            self.backend = self.hello.decode().strip()
        else:
            self.got += data
            if not self.wanted.startswith(self.got):
                raise ConnectionError("wrong bytes")
            if len(self.got) < len(self.wanted):
                return True
        if self.last is None:
            self.due = self.since + 0.05
            return True
        return self.write()

    def write(self):
        if self.n == self.last:
            return False
        self.n, self.due, self.since = self.n + 1, None, time.monotonic()
        self.wanted, self.got = (f"{self.n:08d}" * (1 + self.n % 40)).encode(), b""
        self.s.sendall(self.wanted)
        return True


class Crowd:
    def __init__(self, seconds, count, port, addresses):
        self.loop, self.port, self.addresses = selectors.DefaultSelector(), port, addresses
        self.end, self.count = time.monotonic() + seconds, count
        self.messages, self.opened, self.short = 0, 0, 0
        self.backends, self.broken = collections.Counter(), []

    def open(self, last):
        c = Client(self.addresses[self.opened % len(self.addresses)], self.port, last)
        self.opened += 1
        self.loop.register(c.s, selectors.EVENT_READ, c)

    def close(self, c, why=None):
        if why is not None:
            self.broken.append({"backend": c.backend, "service": c.address, "messages": c.n, "lasting": c.last is None, "why": str(why)})
        self.loop.unregister(c.s)
        c.s.close()

    def speak(self):
        """The next message of everybody whose turn it is."""
        now = time.monotonic()
        for c in [k.data for k in self.loop.get_map().values() if k.data.due is not None and k.data.due <= now]:
            try:
                self.messages += 1
                c.write()
            except OSError as e:
                self.close(c, e)

    def turn(self):
        self.speak()
        for key, _ in self.loop.select(0.01):
            c = key.data
            first = c.backend is None
            try:
                goes_on = c.read()
            except OSError as e:
                self.close(c, e)
                continue
            if first and c.backend is not None:
                self.backends[c.backend] += 1
            if not goes_on:
                self.short += 1
                self.close(c)

    def run(self):
        for _ in range(self.count):
            self.open(None)
        next_new = time.monotonic()
        while time.monotonic() < self.end:
            self.turn()
            if time.monotonic() >= next_new:
                next_new += 0.02
                self.open(2)
        # All that was asked is answered.
        grace, self.speak = time.monotonic() + 3, lambda: None
        waiting = lambda: [k.data for k in self.loop.get_map().values() if k.data.due is None]
        while waiting() and time.monotonic() < grace:
            self.turn()
        for c in waiting():
            self.close(c, f"no answer for {time.monotonic() - c.since:.1f} s")
        print(json.dumps({"opened": self.opened, "short": self.short, "messages": self.messages, "backends": self.backends, "broken": self.broken}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    Crowd(float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]).run()
