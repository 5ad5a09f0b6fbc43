"""Links that an earlier month has captured: they are taken over as they are, not fetched again.

The captures of a month hold a row for each of its links, whatever became of it; so they tell which
links are known, with what outcome and from when. A link that two earlier months had would be told
of the first, but months are made so that none has a link of another.

Held in memory: 16 bytes and a few more for each earlier link of one partition, and the known links
of the month itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from webtext.tables import CAPTURES, KNOWN, part_name, read_table, write_table

_COLUMNS = ["link_id", "outcome", "captured_at"]
_NOTHING = pa.schema([CAPTURES.field(name) for name in _COLUMNS]).empty_table()


class KnownLinks:
    """The links of one partition of earlier months, and those among them that come again."""

    def __init__(self, captures: Sequence[Path], partition: int) -> None:
        """Read the captures artifacts, the first month first. Raises SourceError."""
        self.links = 0
        """Links left out so far."""
        self.submissions = 0
        """Submissions of these."""
        tables = [read_table(one / "captures" / part_name(partition), _COLUMNS) for one in captures]
        sizes = [table.num_rows for table in tables]
        self._captures = pa.concat_tables([_NOTHING, *tables]).combine_chunks()
        months = [pa.repeat(pa.scalar(month, pa.int32()), size) for month, size in enumerate(sizes)]
        self._months = pa.concat_arrays([pa.array([], pa.int32()), *months])
        self._keys = pa.concat_arrays(self._captures["link_id"].chunks or [_no_keys()])
        self._found: list[pa.Table] = []

    def leave_out(self, links: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Tables of links without those that are known; these are kept for `write`."""
        for table in links:
            place = pc.index_in(table["link_id"], value_set=self._keys)
            known = pc.is_valid(place)
            self._keep(table.filter(known), place.drop_null().combine_chunks())
            yield table.filter(pc.invert(known))

    def write(self, path: Path) -> None:
        """Write the known links, each with the earlier month that has it and its capture."""
        write_table(path, pa.concat_tables([KNOWN.empty_table(), *self._found]))

    def _keep(self, links: pa.Table, place: pa.Array) -> None:
        if not links.num_rows:
            return
        captures = self._captures.take(place)
        told = {
            "month": self._months.take(place),
            "outcome": captures["outcome"],
            "captured_at": captures["captured_at"],
        }
        for name, column in told.items():
            links = links.append_column(name, column)
        self._found.append(links.cast(KNOWN))
        self.links += links.num_rows
        self.submissions += int(pc.sum(pc.list_value_length(links["submissions"])).as_py())


def _no_keys() -> pa.Array:
    return pa.array([], pa.binary(16))
