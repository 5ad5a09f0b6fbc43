"""The command that takes pages out of what is made from now on."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.cli_options import DebugOption, StoreRequired


def register_remove(app: App) -> None:
    """Register the commands of this module."""
    app.command(remove)


def _several(name: str, text: str) -> Parameter:
    return Parameter(name=name, help=text, negative="", consume_multiple=True)


def remove(
    *,
    reason: Annotated[str, Parameter(help="Why, for people; kept with each removal.")],
    url: Annotated[tuple[str, ...], _several("--url", "Addresses of pages.")] = (),
    domain: Annotated[tuple[str, ...], _several("--domain", "Domains or hosts.")] = (),
    list_: Annotated[tuple[Path, ...], _several("--list", "Files of both, one a line.")] = (),
    promote_copies: Annotated[
        bool, Parameter(help="Let copies of removed pages take their place.", negative="")
    ] = False,
    purge: Annotated[
        bool, Parameter(help="Overwrite their records in the WARC files, too.", negative="")
    ] = False,
    store: StoreRequired = Path("runs"),
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Take pages down: the next run leaves them out, and makes only what they touched anew.

    What was made from them before stays until `webtext gc` removes it. Models that read them are
    marked in listings, and their cards are issued again with date, reason, documents, tokens and
    steps.
    """
    from flows.reissue import reissue_cards
    from flows.removal_list import listed_removals
    from flows.remove import purge as purge_records
    from flows.remove import read_requests
    from flows.remove import remove as put_on_list
    from flows.running import store_of

    opened = store_of(store)
    today = datetime.now(UTC).date().isoformat()
    asked = read_requests(url, domain, list_, today, reason)
    reached = put_on_list(opened, asked, promote_copies=promote_copies)
    out = sys.stdout
    for each in reached:
        copies = "may take their place" if promote_copies else "are removed with them"
        out.write(
            f"{each.corpus}: {len(each.documents):,} documents removed; "
            f"{len(each.copies):,} copies of them {copies}; {len(each.twins):,} documents stay "
            "that removed pages are copies of\n"
        )
        for address in sorted(each.twins.values()):
            out.write(f"  stays: {address}\n")
    if purge:
        purged, shared = purge_records(opened, listed_removals(opened.root))
        out.write(f"{purged:,} WARC records overwritten; {shared:,} left, for others share them\n")
    for old, new in reissue_cards(opened):
        out.write(
            f"{old}: they are in its model's training text; issued again as {opened.root / new}\n"
        )
    out.write("The next run leaves them out.\n")
