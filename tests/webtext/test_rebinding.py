"""DNS rebinding: a name that leads elsewhere when it is asked again leads nowhere."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.webtext.hostile_server import PAGE, Behaviour, redirects, whole
from tests.webtext.test_crawl_hostile import LIVE, running
from webtext.crawl_visit import Visit, Visitor
from webtext.fetch import LiveSource

NAME = "rebinding.example"


class ChangingResolver(AbstractResolver):
    """Gives one list of addresses after another; the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        assert host == NAME
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0
            )
            for address in answer
        ]

    async def close(self) -> None:
        pass


def visit(tmp_path: Path, resolver: ChangingResolver, address: str, **changes: object) -> Visit:
    """Follow a link to the name; only `address` is exempt, all other loopback is private."""
    host, port = address.removeprefix("http://").split(":")
    exempt = frozenset({(host, int(port))})
    config = LIVE.model_copy(update={"obey_tdmrep": False, "retry_delay_s": 0.01, **changes})

    async def follow() -> Visit:
        source = LiveSource(
            config, concurrency=4, host_delay_s=0.0, politeness=tmp_path / "hosts.bin",
            exempt=exempt, resolver=resolver,
        )  # fmt: skip
        try:
            visitor = Visitor(config, source, exempt)
            return await visitor.visit(0, b"k" * 16, f"http://{NAME}:{port}/page", 20170901000000)
        finally:
            await source.close()

    return asyncio.run(follow())


def behaviours(page: Behaviour) -> dict[str, Behaviour]:
    """Every answer closes its connection, so that the name is asked for again."""
    missing = whole(b"", b"HTTP/1.1 404 No\r\nConnection: close\r\n")
    return {"page": page, "robots.txt": missing}


CLOSING = whole(PAGE, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n")
GOOD, PRIVATE = ["127.0.0.1"], ["127.0.0.2"]


def test_a_name_that_stays_is_followed(tmp_path: Path) -> None:
    with running(behaviours(CLOSING)) as (server, address):
        found = visit(tmp_path, ChangingResolver(GOOD), address)
    assert (found.outcome, len(server.requests)) == ("ok", 2)


@pytest.mark.parametrize("answers", [[PRIVATE], [["10.0.0.1", "169.254.169.254"]]])
def test_a_private_answer_is_refused_before_any_request(
    answers: list[list[str]], tmp_path: Path
) -> None:
    with running(behaviours(CLOSING)) as (server, address):
        found = visit(tmp_path, ChangingResolver(*answers), address)
    assert (found.outcome, server.requests) == ("blocked_address", [])


def test_the_page_is_refused_where_robots_was_not(tmp_path: Path) -> None:
    with running(behaviours(CLOSING)) as (server, address):
        found = visit(tmp_path, ChangingResolver(GOOD, PRIVATE), address)
    assert found.outcome == "blocked_address"
    assert [request.split()[1] for request in server.requests] == [b"/robots.txt"]


def test_a_redirect_to_the_same_name_is_judged_again(tmp_path: Path) -> None:
    pages = behaviours(redirects(b"/other"))
    with running(pages) as (server, address):
        found = visit(tmp_path, ChangingResolver(GOOD, GOOD, PRIVATE), address)
    assert found.outcome == "blocked_address"
    assert not any(request.startswith(b"GET /other") for request in server.requests)


def test_a_retry_is_judged_again(tmp_path: Path) -> None:
    busy = whole(b"", b"HTTP/1.1 503 Busy\r\nConnection: close\r\n")
    with running(behaviours(busy)) as (server, address):
        found = visit(tmp_path, ChangingResolver(GOOD, GOOD, PRIVATE), address, retries=2)
    assert found.outcome == "blocked_address"
    assert len(server.requests) == 2


def test_of_mixed_answers_the_public_ones_alone_are_used(tmp_path: Path) -> None:
    with running(behaviours(CLOSING)) as (_, address):
        found = visit(tmp_path, ChangingResolver(["10.0.0.1", "127.0.0.2", "127.0.0.1"]), address)
    assert found.outcome == "ok"
