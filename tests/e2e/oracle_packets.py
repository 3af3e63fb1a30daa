# SPDX-License-Identifier: Apache-2.0
"""Frames made and read byte by byte: what the oracle sends, and what it compares."""
import ipaddress
import struct

TCP, UDP, ICMP, ICMP6, SCTP, ESP = 6, 17, 1, 58, 132, 50
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
# Every payload begins so, then four bytes of the conversation and four of the packet.
MARK = b"orcl"


def packed(ip):
    return ipaddress.ip_address(ip).packed


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def ones(data):
    """The one's complement sum of 16-bit words, 0..0xfffe."""
    if len(data) & 1:
        data += b"\0"
    return int.from_bytes(data, "big") % 0xffff


def checksum(data):
    return (0xffff - ones(data)) & 0xffff


CRC32C = []
for _n in range(256):
    for _ in range(8):
        _n = _n >> 1 ^ (0x82f63b78 if _n & 1 else 0)
    CRC32C.append(_n)


def crc32c(data):
    crc = 0xffffffff
    for b in data:
        crc = crc >> 8 ^ CRC32C[(crc ^ b) & 255]
    return struct.pack("<I", crc ^ 0xffffffff)


def pseudo(src, dst, proto, length):
    return src + dst + struct.pack("!II", length, proto)


def l4(proto, src, dst, segment):
    """The segment with its checksum filled in."""
    if proto == SCTP:
        return segment[:8] + crc32c(segment[:8] + bytes(4) + segment[12:]) + segment[12:]
    at = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}.get(proto)
    if at is None:
        return segment
    segment = segment[:at] + b"\0\0" + segment[at + 2:]
    head = b"" if proto == ICMP else pseudo(src, dst, proto, len(segment))
    s = checksum(head + segment)
    if proto == UDP and s == 0:
        s = 0xffff
    return segment[:at] + struct.pack("!H", s) + segment[at + 2:]


def ip_packet(src, dst, proto, segment, ttl=64, tos=0, ident=0, df=True, options=b"", extension=b""):
    """src and dst as packed bytes; extension: an IPv6 destination options header without its next-header byte."""
    segment = l4(proto, src, dst, segment)
    if len(src) == 4:
        ihl = 5 + len(options) // 4
        head = struct.pack("!BBHHHBBH", 0x40 | ihl, tos, ihl * 4 + len(segment), ident, 0x4000 if df else 0, ttl, proto, 0) + src + dst + options
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + segment
    if extension:
        segment, proto = bytes([proto]) + extension + segment, 60
    return struct.pack("!IHBB", 6 << 28 | tos << 20 | ident & 0xfffff, len(segment), proto, ttl) + src + dst + segment


def ethernet(dst, src, packet):
    return dst + src + (b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet


def tcp(sport, dport, seq, ack, flags, data=b"", window=8192):
    return struct.pack("!HHIIBBHHH", sport, dport, seq & 0xffffffff, ack & 0xffffffff, 5 << 4, flags, window, 0, 0) + data


def udp(sport, dport, data):
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def icmp(kind, code, rest, data):
    return struct.pack("!BBH", kind, code, 0) + rest + data


def sctp(sport, dport, tag, chunk):
    return struct.pack("!HHII", sport, dport, tag, 0) + chunk


class Packet:
    """An IP packet that was read: fields as numbers, addresses packed. `quote`: the Packet that an ICMP error carries, or None."""

    def __init__(self, data, quoted=False):
        self.data, self.v6 = data, data[0] >> 4 == 6
        if self.v6:
            word, length, self.proto, self.ttl = struct.unpack_from("!IHBB", data)
            self.tos, self.ident, self.src, self.dst, self.l4 = word >> 20 & 255, word & 0xfffff, data[8:24], data[24:40], 40
            self.end = 40 + length
            if self.proto == 60:
                self.proto, self.l4 = data[40], 48 + data[41] * 8
            self.header_ok = True
        else:
            ihl = (data[0] & 15) * 4
            _, self.tos, self.end, self.ident, self.frag, self.ttl, self.proto = struct.unpack_from("!BBHHHBB", data)
            self.src, self.dst, self.l4 = data[12:16], data[16:20], ihl
            self.header_ok = ones(data[:ihl]) == 0
        self.segment = data[self.l4:self.end]
        s = self.segment
        self.sport = self.dport = self.flags = self.kind = self.code = self.quote = None
        self.is_icmp = self.proto == (ICMP6 if self.v6 else ICMP)
        self.payload = s
        if self.proto in (TCP, UDP, SCTP) and len(s) >= 8:
            self.sport, self.dport = struct.unpack_from("!HH", s)
            self.payload = s[8:] if self.proto == UDP else s[12:]
            if self.proto == TCP and len(s) >= 20:
                self.seq, self.ack, offset, self.flags, self.window = struct.unpack_from("!IIBBH", s, 4)
                self.payload = s[(offset >> 4) * 4:]
        elif self.is_icmp and len(s) >= 8:
            self.kind, self.code = s[0], s[1]
            self.payload = s[8:]
            if self.is_error and not quoted and len(self.payload) >= (48 if self.v6 else 28):
                self.quote = Packet(self.payload, True)
            elif not self.is_error:
                self.sport = self.dport = struct.unpack_from("!H", s, 4)[0]

    @property
    def is_error(self):
        return self.is_icmp and (self.kind < 128 if self.v6 else self.kind in (3, 4, 11, 12))

    def sum_ok(self):
        if not self.header_ok or len(self.data) < self.end:
            return False
        if self.proto == SCTP:
            return crc32c(self.segment[:8] + bytes(4) + self.segment[12:]) == self.segment[8:12]
        if self.proto not in (TCP, UDP, ICMP, ICMP6) or self.proto == UDP and self.segment[6:8] == b"\0\0":
            return True
        head = b"" if self.proto == ICMP else pseudo(self.src, self.dst, self.proto, len(self.segment))
        return ones(head + self.segment) == 0

    def uid(self):
        """(conversation, packet) from the payload, or None."""
        if self.payload[:4] == MARK and len(self.payload) >= 12:
            return struct.unpack_from("!II", self.payload, 4)
        return None

    def __str__(self):
        a, b = ipaddress.ip_address(self.src), ipaddress.ip_address(self.dst)
        if self.is_icmp:
            what = f"ICMP {self.kind}/{self.code}" + ("" if self.is_error else f" id {self.sport}")
            if self.quote:
                what += f" ({self.quote})"
        else:
            what = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP"}.get(self.proto, f"proto {self.proto}")
            if self.sport is not None:
                what += f" {self.sport}>{self.dport}"
            if self.flags is not None:
                what += " " + ("".join(n for bit, n in ((SYN, "S"), (ACK, "A"), (FIN, "F"), (RST, "R"), (PSH, "P"), (URG, "U")) if self.flags & bit)
                               or "-") + f" seq {self.seq} ack {self.ack}"
        return f"{a} > {b} ttl {self.ttl} {what}, {self.end} bytes"
