"""Which hosts are Wikipedia or another Wikimedia project.

Wikipedia is stripped at three doors, and all three ask here: the link's host, the address after
redirects and the page's canonical link. The answer is by registered name, so every language
(`de.`), the mobile site (`en.m.`), `www.` and names not yet thought of are covered, while
look-alikes (`notwikipedia.org`, `wikipedia.org.example`) are not.
"""

WIKIPEDIA = frozenset({"wikipedia.org", "wikipedia.com", "wikipedia.net"})
"""Names that serve Wikipedia; .com and .net only redirect to .org (they did in 2017 too)."""

WIKIMEDIA_PROJECTS = frozenset(
    {
        "mediawiki.org",
        "wikibooks.org",
        "wikidata.org",
        "wikimedia.org",
        "wikimediafoundation.org",
        "wikinews.org",
        "wikiquote.org",
        "wikisource.org",
        "wikiversity.org",
        "wikivoyage.org",
        "wiktionary.org",
    }
)
"""The other public wikis of the Wikimedia Foundation."""

_SHORT_NAMES = frozenset({"w.wiki"})
"""The Foundation's URL shortener; it leads to its own wikis only."""


def is_wikipedia(host: str, *, all_projects: bool = False) -> bool:
    """Whether `host` serves Wikipedia in any language or form.

    With `all_projects`, whether it serves any public wiki of the Wikimedia Foundation.

    `host` is a host name without port, in any case, with or without a trailing dot. An empty or
    malformed name is no Wikipedia.
    """
    labels = host.lower().rstrip(".").split(".")
    name = ".".join(labels[-2:])
    if name in WIKIPEDIA:
        return True
    return all_projects and (name in WIKIMEDIA_PROJECTS or name in _SHORT_NAMES)
