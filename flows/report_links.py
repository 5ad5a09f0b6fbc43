"""Where a page's links lead: to other pages where it is served, nowhere where it is a file."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True)
class Links:
    """The addresses of the lineage's pages."""

    served: bool
    run: str | None = None
    """The build that questions are about; by default the newest."""

    def trace(self, subject: str) -> str | None:
        """The page of something that can be traced."""
        return self._to("/trace", subject)

    def text(self, link_id: str) -> str | None:
        """The text of a document."""
        return self._to("/text", link_id)

    def capture(self, link_id: str) -> str | None:
        """The page as it was sent, as a file to keep."""
        return self._to("/capture", link_id)

    def _to(self, path: str, subject: str) -> str | None:
        if not self.served:
            return None
        given = {"q": subject, **({"run": self.run} if self.run else {})}
        return f"{path}?{urlencode(given)}"
