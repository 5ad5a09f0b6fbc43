"""E-mail and public IP addresses in a text, replaced by names that lead nowhere.

Each distinct address of a document gets the next number in it: the first e-mail address becomes
`person1@example.com` wherever it stands, the second `person2@example.com`. So who answers whom
can still be read, equal documents stay equal, and nothing of the address is left: a hash of one of
four thousand million IP addresses could be reversed by trying them all. The replacements are those
set aside for documentation (RFC 2606 section 3, RFC 5737 section 3, RFC 3849 section 2).

Private, loopback and documentation addresses name nobody and stay. Time is linear in the text.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple

# Lengths by RFC 5321 section 4.5.3.1: 64 octets before the @, labels of 63 (RFC 1035).
_LOCAL = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]"
_EMAIL = re.compile(
    rf"(?<!{_LOCAL}){_LOCAL}{{1,64}}@(?:[A-Za-z0-9-]{{1,63}}\.){{1,8}}[A-Za-z]{{2,24}}(?![A-Za-z0-9-])"
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", re.ASCII)
_TEST_NETS = ("192.0.2", "198.51.100", "203.0.113")
_HOSTS = 254


class Masked(NamedTuple):
    """A text without the addresses, and how many occurrences were replaced."""

    text: str
    emails: int
    ips: int


def mask_addresses(text: str, *, emails: bool, ips: bool) -> Masked:
    """Replace what is asked for."""
    masked_emails = masked_ips = 0
    if emails and "@" in text:
        text, masked_emails = _number(_EMAIL, text, lambda _address: True, _email_name)
    if ips:
        text, fours = _number(_IPV4, text, _is_public, _ipv4_name)
        text, sixes = _number(_IPV6, text, _is_public, _ipv6_name)
        masked_ips = fours + sixes
    return Masked(text, masked_emails, masked_ips)


def _number(
    pattern: re.Pattern[str],
    text: str,
    wanted: Callable[[str], bool],
    name: Callable[[int], str],
) -> tuple[str, int]:
    """Replace the wanted matches by names in the order of their first occurrence."""
    numbers: dict[str, int] = {}
    replaced = 0

    def replacement(match: re.Match[str]) -> str:
        nonlocal replaced
        if not wanted(match[0]):
            return match[0]
        replaced += 1
        return name(numbers.setdefault(match[0].lower(), len(numbers)))

    return pattern.sub(replacement, text), replaced


def _is_public(address: str) -> bool:
    try:
        return ip_address(address).is_global
    except ValueError:
        return False


def _email_name(number: int) -> str:
    return f"person{number + 1}@example.com"


def _ipv4_name(number: int) -> str:
    """762 addresses are set aside; a document with more of them starts again at the first."""
    net, host = divmod(number % (len(_TEST_NETS) * _HOSTS), _HOSTS)
    return f"{_TEST_NETS[net]}.{host + 1}"


def _ipv6_name(number: int) -> str:
    return f"2001:db8::{number % 0xFFFF + 1:x}"
