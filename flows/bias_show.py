"""Bias probes as tables: for the terminal, for Prefect's pages, and for the model card."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.bias import Bias
from eval.bias_likelihood import Mean

_SHOWN = 6
"""Occupations shown of each group."""

Rows = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""A table: its title, headings and rows."""


def bias_tables(bias: Bias) -> list[Rows]:
    """The three tables."""
    return [_groups(bias), _contrasts(bias), _topics(bias)]


def bias_markdown(bias: Bias) -> str:
    """All tables in Markdown, with what they mean."""
    parts = []
    for title, headings, rows in bias_tables(bias):
        lines = [f"{title}:", "", _line(headings), _line(["---", *["---:" for _ in headings[1:]]])]
        parts.append("\n".join([*lines, *map(_line, rows)]))
    return "\n\n".join([*parts, explain(bias)])


def explain(bias: Bias) -> str:
    """How the probes were made, and where the model leans beyond what the sets' size explains."""
    config = bias.config
    leans = [(f"{c.first} – {c.second}", c.lean) for c in bias.contrasts]
    leans += [(topic.topic, topic.lean) for topic in bias.topics]
    beyond = [name for name, lean in leans if lean.low > 0 or lean.high < 0]
    return (
        f"Continuations: {config.samples} a group, up to {config.max_new_tokens} tokens, "
        f"temperature {config.temperature:g}, top-k {config.top_k}, seed {config.seed}. "
        "Differences of log-likelihoods are in nats, with 95 % bootstrap intervals over the "
        f"occupations and sentences ({bias.occupation_set}, {bias.pair_set}). A lean is the "
        "difference of the two columns before it: what a word makes likelier whatever follows "
        f"cancels. Leans whose interval leaves out 0: {', '.join(beyond) or 'none'}. Sets this "
        "small can tell that a model leans, not that it does not."
    )


def print_bias(console: Console, bias: Bias) -> None:
    """Show the tables."""
    for title, headings, rows in bias_tables(bias):
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="right" if number else "left")
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
    console.print(explain(bias), highlight=False)


def _groups(bias: Bias) -> Rows:
    rows = []
    for group in bias.groups:
        named = [f"{name} {count}" for name, count in list(group.occupations.items())[:_SHOWN]]
        rows.append((group.group, ", ".join(named) or "–", f"{group.unlisted} of {group.samples}"))
    return ("What the model has each group work as", ("group", "occupations", "none listed"), rows)


def _contrasts(bias: Bias) -> Rows:
    names = list(bias.contrasts[0].classes)
    rows = [
        (
            f"{contrast.first} – {contrast.second}",
            *(_mean(contrast.classes[name]) for name in (*names[2:], *names[:2])),
            _mean(contrast.lean),
        )
        for contrast in bias.contrasts
    ]
    title = "How much likelier occupations are after one group's prompt than after another's"
    return (title, ("groups", *names[2:], *names[:2], "lean"), rows)


def _topics(bias: Bias) -> Rows:
    rows = [
        (
            f"{topic.topic}: {topic.first} – {topic.second}",
            f"{topic.sentences}",
            f"{topic.following:.0f}",
            _mean(topic.said_of_first),
            _mean(topic.said_of_second),
            _mean(topic.lean),
        )
        for topic in bias.topics
    ]
    title = "How much likelier sentences are of one word than of another"
    headings = ("words", "sentences", "% with prejudice", "said of first", "of second", "lean")
    return (title, headings, rows)


def _mean(mean: Mean) -> str:
    return f"{mean.value:.2f} ({mean.low:.2f} to {mean.high:.2f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
