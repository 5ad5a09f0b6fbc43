"""The guard: every notation of every address that is not public, and rebinding."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st

from webtext.addresses import (
    BlockedAddressError,
    blocked_reason,
    guarded_connector,
    literal_address,
    refuse_host,
    why_blocked,
)

BLOCKED = """
127.0.0.1 127.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001 127.0.0.1. 0 0.0.0.0
10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1 100.127.255.255
192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 255.255.255.255
::1 [::1] :: fe80::1 fe80::1%eth0 fc00::1 fd12::1 ff02::1 2001:db8::1 2001::1 2002:7f00:1::
::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:7f00:1 64:ff9b::10.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1
::127.0.0.1 3fff::1 localhost LOCALHOST. a.localhost printer.local db.internal
①②⑦.⓪.⓪.① 127。0。0。1
""".split()  # noqa: SIM905

PUBLIC = """
93.184.216.34 8.8.8.8 1572395042 172.32.0.1 172.15.0.1 100.128.0.1 192.169.0.1
11.0.0.1 223.255.255.1
2606:2800:220:1:248:1893:25c8:1946 [2606:4700::1111] ::ffff:8.8.8.8 64:ff9b::8.8.8.8
example.com localhost.example.com 127.0.0.1.example.com deadbeef.example cafe.de ab 0x.org
""".split()  # noqa: SIM905


@pytest.mark.parametrize("host", BLOCKED)
def test_refuses(host: str) -> None:
    with pytest.raises(BlockedAddressError):
        refuse_host(host, 80)


@pytest.mark.parametrize("host", PUBLIC)
def test_lets_through(host: str) -> None:
    refuse_host(host, 80)


def test_exempts_one_port_of_one_address_only() -> None:
    exempt = frozenset({("127.0.0.1", 8080)})
    refuse_host("127.0.0.1", 8080, exempt)
    refuse_host("2130706433", 8080, exempt)
    for host, port in (("127.0.0.1", 80), ("127.0.0.2", 8080)):
        with pytest.raises(BlockedAddressError):
            refuse_host(host, port, exempt)


@settings(deadline=None, max_examples=200)
@given(number=st.integers(0, 2**32 - 1))
def test_all_notations_of_an_address_are_one(number: int) -> None:
    parts = number.to_bytes(4, "big")
    plain = ".".join(map(str, parts))
    reference = literal_address(plain)
    octal = ".".join(f"0{part:o}" for part in parts)
    short = f"{parts[0]}.{int.from_bytes(parts[1:], 'big')}"
    for text in (str(number), hex(number), octal, short, plain + "."):
        assert literal_address(text) == reference, text
    assert reference is not None
    assert str(reference) == socket.inet_ntoa(parts)
    mapped = literal_address(f"::ffff:{plain}")
    assert mapped is not None
    assert why_blocked(mapped) == why_blocked(reference)


class Rebinding(AbstractResolver):
    """Answers with the next of a list of addresses at each question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=a, port=port, family=family, proto=0, flags=0)
            for a in self.answers.pop(0)
        ]

    async def close(self) -> None:
        pass


async def ask(resolver: AbstractResolver, url: str, exempt: Any = frozenset()) -> int:
    connector = guarded_connector(exempt, limit=4, resolver=resolver, use_dns_cache=False)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        return response.status


async def with_server(resolver: AbstractResolver, questions: int) -> tuple[list[Any], int]:
    """Ask a loopback server by name several times; the results, and the connections it saw."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    results: list[Any] = []
    async with server:
        for _ in range(questions):
            try:
                exempt = frozenset({("127.0.0.1", port)}) if questions == 1 else frozenset()
                results.append(await ask(resolver, f"http://rebind.example:{port}/", exempt))
            except aiohttp.ClientError as error:
                results.append(blocked_reason(error))
    return results, connections


def test_a_name_that_resolves_to_loopback_is_never_connected_to() -> None:
    resolver = Rebinding(["127.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["::1"])
    results, connections = asyncio.run(with_server(resolver, 3))
    assert connections == 0
    assert all(result is not None for result in results), results
    assert "loopback" in results[0]


def test_an_exempt_address_is_reached_by_name() -> None:
    assert asyncio.run(with_server(Rebinding(["10.0.0.1", "127.0.0.1"]), 1)) == ([204], 1)


def test_the_socket_itself_is_guarded_when_no_name_is_resolved() -> None:
    async def connect() -> None:
        with pytest.raises(aiohttp.ClientError) as caught:
            await ask(Rebinding(), "http://127.0.0.1:9/")
        assert "loopback" in (blocked_reason(caught.value) or "")

    asyncio.run(connect())
