"""The funnel: how many rows came out of each stage, and the named reason for every one lost."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from flows.stages import Stage

_LOG = logging.getLogger(__name__)


def funnel_rows(counted: Iterable[tuple[Stage, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The funnel as rows: stage, what is counted, in, out, and lines of losses by reason."""
    rows = []
    for stage, counts in counted:
        losses = dict(sorted(counts.get("losses", {}).items(), key=lambda item: -item[1]))
        rows.append(
            {
                "stage": stage.name,
                "counted": stage.rows,
                "in": counts["rows_in"],
                "out": counts["rows_out"],
                "losses": {reason: rows_lost for reason, rows_lost in losses.items() if rows_lost},
            }
        )
    return rows


def funnel_markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """The funnel as a Markdown table."""
    lines = ["| stage | counted | in | out | lost, by reason |", "|---|---|---:|---:|---|"]
    for row in rows:
        lost = ", ".join(f"{reason} {number:,}" for reason, number in row["losses"].items())
        numbers = f"{row['in']:,} | {row['out']:,}"
        lines.append(f"| {row['stage']} | {row['counted']} | {numbers} | {lost or '–'} |")
    return "\n".join(lines)


def publish_counts(stage: Stage, label: str, counts: Mapping[str, Any]) -> None:
    """Show a stage's counts on Prefect's pages."""
    if "rows_in" in counts:
        table = funnel_markdown(funnel_rows([(stage, counts)]))
        publish_markdown(f"counts-{stage.name}", f"## {stage.name}\n`{label}`\n\n{table}")


def publish_markdown(key: str, text: str) -> None:
    """Write a Markdown artifact of the current flow run; Prefect shows it on its pages."""
    from prefect.artifacts import create_markdown_artifact

    try:
        create_markdown_artifact(markdown=text, key=key)
    except Exception:  # noqa: BLE001  a page that cannot be shown must not end a run
        _LOG.warning("the Prefect artifact %s could not be written", key, exc_info=True)
