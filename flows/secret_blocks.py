"""Secrets in blocks of Prefect, put into the environment of a run or of a node's process."""

import os
from collections.abc import Mapping
from typing import Any

from infra.errors import ProfileError
from infra.secrets import know


def load_secrets(blocks: Mapping[str, str]) -> None:
    """Put what Prefect's secret blocks hold into the environment, which child processes inherit.

    Args:
        blocks: names of blocks, by the variable that gets what they hold.

    Raises:
        ProfileError: there is no such block.
    """
    for name, block in blocks.items():
        if name not in os.environ:
            from prefect.blocks.system import Secret

            try:
                secret: Any = Secret.load(block)
                os.environ[name] = str(secret.get())
            except ValueError as error:
                raise ProfileError(
                    f"Prefect has no secret block {block!r} for {name}; make one on its pages "
                    f"(Blocks), or set {name} in the environment"
                ) from error
    know([f"${{{name}}}" for name in blocks])
