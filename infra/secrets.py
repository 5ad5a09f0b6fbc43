"""Secrets: held by the environment, named in settings, masked in whatever a run writes.

A setting never holds a secret. It writes `${NAME}` where one belongs, e.g. a gateway's address
`https://reader:${GATEWAY_PASSWORD}@archive.example/web`; manifests, records and Prefect's
parameters keep it so. The value is put in by the child process that needs it, from its environment.
Messages and logs pass through `mask`, which hides the values of all secrets that are known:

- of environment variables whose names say so (TOKEN, SECRET, PASSWORD, KEY, CREDENTIAL, AUTH),
- of those that settings referred to, whatever their name,
- and the password of any address that has one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from infra.errors import ProfileError

MASK = "•••"
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SAYS_SO = re.compile(
    r"TOKEN(?!IZER)|SECRET|PASSW(OR)?D|(API|ACCESS)_?KEY|CREDENTIAL|_AUTH(?!_SOCK)", re.IGNORECASE
)
_PASSWORD = re.compile(r"(?<=://)([^/\s:@'\"]*):(?!//)([^/\s@'\"]+)@")
_LEAST_LETTERS = 6
"""Shorter values are words like `true`, which masking would only make messages unreadable by."""

_referred: set[str] = set()


def names_in(value: Any) -> set[str]:
    """The environment variables that a setting, or the settings inside it, refer to."""
    if isinstance(value, str):
        return set(_REFERENCE.findall(value))
    if isinstance(value, Mapping):
        return set().union(*map(names_in, value.values()))
    if isinstance(value, list | tuple):
        return set().union(*map(names_in, value))
    return set()


def reveal(value: Any) -> Any:
    """The value with each `${NAME}` replaced, inside lists and mappings too.

    In an address the value is percent-encoded, as its place wants.

    Raises:
        ProfileError: the environment lacks one.
    """
    if isinstance(value, str):
        encode = "://" in value
        return _REFERENCE.sub(lambda found: _look_up(found[1], encode=encode), value)
    if isinstance(value, Mapping):
        return {key: reveal(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [reveal(one) for one in value]
    return value


def require_no_password(setting: str, address: str) -> None:
    """See that an address in a setting holds no password of its own.

    Raises:
        ValueError: it does; the message does not repeat it.
    """
    parts = urlsplit(address) if "://" in address else None
    if parts is None or parts.password is None or _REFERENCE.fullmatch(parts.password):
        return
    raise ValueError(
        f"{setting}: the address of {parts.hostname} holds a password, which would be kept in "
        "manifests; put it into the environment, and write ${NAME} in its place"
    )


def know(settings: Any) -> None:
    """Have `mask` hide, from now on, the values of what these settings refer to."""
    _referred.update(names_in(settings))


def mask(text: str) -> str:
    """The text with every secret that is known replaced by dots."""
    for value in _values():
        if value in text:
            text = text.replace(value, MASK)
    return _PASSWORD.sub(_hide_password, text)


def _hide_password(found: re.Match[str]) -> str:
    if _REFERENCE.fullmatch(found[2]) or found[2] == MASK:
        return found[0]
    return f"{found[1]}:{MASK}@"


def _look_up(name: str, *, encode: bool) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ProfileError(
            f"a setting refers to ${{{name}}}, but the environment has no {name}; set it, or name "
            f"a Prefect secret block for it: [runtime.secrets] {name} = 'BLOCK'"
        )
    _referred.add(name)
    return quote(value, safe="") if encode else value


def _values() -> list[str]:
    """Secret values, the longest first, as they are and as addresses hold them."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if len(value) >= _LEAST_LETTERS and (name in _referred or _SAYS_SO.search(name)):
            found |= {value, quote(value, safe="")}
    return sorted(found, key=len, reverse=True)
