"""The process of a temporary Prefect server: `python -m flows.temporary_server PARENT PORT`.

It ends when PARENT does. The garbage collector is off while Prefect is imported: millions of live
objects are made and none freed, and looking through them again and again costs most of a second.
"""

from __future__ import annotations

import gc
import sys

from infra.orphans import die_with_parent


def main(parent: int, port: int) -> None:
    """Serve until told to end."""
    die_with_parent(parent)
    gc.disable()
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app()
    gc.freeze()
    gc.enable()
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
