"""Exports entries of the log, oldest first, as NDJSON, CSV or Parquet: any number of them in the memory of one page.

An export has what a search finds (``search.Wanted``) up to the entry that was the newest when it began. It is read page
by page, each in a short transaction of its own, so that whoever takes it slowly holds no transaction open. That it is
whole is seen at its end, where the number of its entries and the checkpoint it was taken at stand; a copy that was cut
off has no such end (``Ending`` looks for it):

* NDJSON: the first line is ``{"export": …}`` with the restrictions and the checkpoint, the last ``{"end": {"count": …,
  "checkpoint": …}}``; between them an entry a line.
* CSV: after the entries a row whose first column is ``#end``, whose second is their number, whose third the checkpoint
  as JSON (or nothing). Everything that has no value is empty.
* Parquet: the file's own footer, without which nothing reads it, with ``count`` and ``checkpoint`` among its key-value
  metadata.

Raises as ``search`` does before the first byte; UNSUPPORTED for Parquet where pyarrow is not installed (the extra
``parquet``). What fails later ends the stream without its end.
"""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Protocol

from gateway import db
from gateway.domain.callers import Sight
from gateway.errors import GatewayError, Kind
from gateway.evidence import search, store
from gateway.evidence.search import Checkpoint, Entry, Message, Wanted
from gateway.evidence.store import Question


class Format(StrEnum):
    """What an export is written as."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        """As it is named over HTTP."""
        return {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}.get(
            self.value, "application/vnd.apache.parquet"
        )


#: The columns of a table of entries: those of an entry, and those of its message with a name before them.
_OWN = tuple(f.name for f in fields(Entry) if f.name != "message")
_OF_MESSAGE = tuple(f.name for f in fields(Message))
COLUMNS = (*_OWN, *(f"message_{name}" for name in _OF_MESSAGE))
_NUMBERS = frozenset({"entry", "leaf_index", "message_seq"})


class Writer(Protocol):
    """Makes bytes of entries."""

    def opening(self, wanted: Wanted, checkpoint: Checkpoint | None) -> bytes:
        """What comes first."""

    def rows(self, entries: Sequence[Entry]) -> bytes:
        """Some entries."""

    def end(self, count: int, checkpoint: Checkpoint | None) -> bytes:
        """What shows that all were written."""


@dataclass(frozen=True, slots=True)
class Export:
    """An export that may begin: everything that can be refused has been judged."""

    database: db.Database
    asked: Question
    wanted: Wanted
    checkpoint: Checkpoint | None
    writer: Writer

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes; MUST be read to the end to be whole."""
        yield self.writer.opening(self.wanted, self.checkpoint)
        edge: int | None = 0
        count = 0
        while edge is not None:
            async with self.database.reading() as tx:
                entries, edge = await search.window(tx, self.asked, edge)
            count += len(entries)
            if entries:
                yield await asyncio.to_thread(self.writer.rows, entries)  # a process that serves has others to answer
        yield self.writer.end(count, self.checkpoint)


async def begun(database: db.Database, sight: Sight, wanted: Wanted, format: Format) -> Export:
    """Judge what is wanted, and fix up to which entry it goes."""
    writer = _WRITERS[format]()
    async with database.reading() as tx:
        asked = await search.question(tx, sight, wanted, await store.newest(tx), oldest_first=True)
        return Export(database, asked, wanted, await search.checkpoint(tx), writer)


def _row(entry: Entry) -> dict[str, Any]:
    """An entry as a row of ``COLUMNS``."""
    own = {name: getattr(entry, name) for name in _OWN} | {"at": entry.at.isoformat(timespec="milliseconds")}
    if entry.message is None:
        return own
    return own | {f"message_{name}": getattr(entry.message, name) for name in _OF_MESSAGE}


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _stated(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    return asdict(checkpoint) if checkpoint is not None else None


class _Ndjson:
    def opening(self, wanted: Wanted, checkpoint: Checkpoint | None) -> bytes:
        head = {"wanted": wanted.given, "checkpoint": _stated(checkpoint)}
        return f"{_compact({'export': head})}\n".encode()

    def rows(self, entries: Sequence[Entry]) -> bytes:
        return "".join(f"{_compact(_document(entry))}\n" for entry in entries).encode()

    def end(self, count: int, checkpoint: Checkpoint | None) -> bytes:
        return f"{_compact({'end': {'count': count, 'checkpoint': _stated(checkpoint)}})}\n".encode()


def _document(entry: Entry) -> dict[str, Any]:
    """An entry as the search shows it."""
    own: dict[str, Any] = {name: getattr(entry, name) for name in _OWN}
    own["at"] = entry.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    said = entry.message
    own["message"] = {name: getattr(said, name) for name in _OF_MESSAGE} if said is not None else None
    return own


class _Csv:
    def opening(self, wanted: Wanted, checkpoint: Checkpoint | None) -> bytes:
        return self._written([COLUMNS])

    def rows(self, entries: Sequence[Entry]) -> bytes:
        return self._written([[row.get(name) for name in COLUMNS] for row in map(_row, entries)])

    def end(self, count: int, checkpoint: Checkpoint | None) -> bytes:
        stated = _compact(_stated(checkpoint)) if checkpoint is not None else None
        return self._written([["#end", count, stated, *[None] * (len(COLUMNS) - 3)]])

    def _written(self, rows: Sequence[Sequence[Any]]) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        return text.getvalue().encode()


class _Parquet:
    """Row groups of one page each; pyarrow is imported when it is first wanted."""

    def __init__(self) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            detail = "Parquet needs pyarrow, which is not installed here: install the extra 'parquet'"
            raise GatewayError(Kind.UNSUPPORTED, detail) from None
        self._arrow = pyarrow
        kinds = {name: pyarrow.int64() if name in _NUMBERS else pyarrow.string() for name in COLUMNS}
        kinds["at"] = pyarrow.timestamp("ms", tz="UTC")
        self._schema = pyarrow.schema(list(kinds.items()))
        self._sink = _Sink()
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")

    def opening(self, wanted: Wanted, checkpoint: Checkpoint | None) -> bytes:
        self._writer.add_key_value_metadata({"wanted": _compact(wanted.given)})
        return self._sink.taken()

    def rows(self, entries: Sequence[Entry]) -> bytes:
        rows = [{**_row(entry), "at": entry.at} for entry in entries]
        self._writer.write_table(self._arrow.Table.from_pylist(rows, schema=self._schema))
        return self._sink.taken()

    def end(self, count: int, checkpoint: Checkpoint | None) -> bytes:
        said = {"count": str(count), "checkpoint": _compact(_stated(checkpoint))}
        self._writer.add_key_value_metadata(said)
        self._writer.close()
        return self._sink.taken()


class _Sink(io.RawIOBase):
    """A file that can only be written on, and gives away what was written."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        chunk = bytes(data)
        self._chunks.append(chunk)
        self._length += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        return self._length

    def taken(self) -> bytes:
        """What has been written since this was last asked."""
        chunk = b"".join(self._chunks)
        self._chunks.clear()
        return chunk


_WRITERS: Mapping[Format, Callable[[], Writer]] = {
    Format.NDJSON: _Ndjson,
    Format.CSV: _Csv,
    Format.PARQUET: _Parquet,
}


class Ending:
    """Looks on as an export passes, and tells at the end whether it is whole: its end is there, and counts its entries.

    ``count`` is the number of entries that it says it has; of Parquet, whose footer its readers hold against it, None.
    """

    #: Longest row that is told from another, in bytes: that of a record of a message of a thousand items has a tenth.
    _MOST = 1 << 20

    def __init__(self, format: Format) -> None:
        self._format = format
        self._rest = b""
        self._last = b""
        self._lines = 0
        self._length = 0
        self.count: int | None = None

    def feed(self, chunk: bytes) -> None:
        """Some bytes of it, in order."""
        self._length += len(chunk)
        if self._format is Format.PARQUET:
            self._rest = (self._rest + chunk)[-8:]
            return
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._lines += len(lines)
        self._last = lines[-1] if lines else self._last
        self._rest = rest[-self._MOST :]

    def require(self) -> None:
        """Raise UNAVAILABLE (9001) unless it is whole."""
        if not (self._footed() if self._format is Format.PARQUET else self._counted()):
            detail = "the export was cut off: it has no end, or entries are missing"
            raise GatewayError(Kind.UNAVAILABLE, detail, code=9001)

    def _footed(self) -> bool:
        """Whether the last eight bytes are the length of a footer that there is room for, and the format's mark."""
        footer = int.from_bytes(self._rest[:4], "little")
        return self._rest[4:] == b"PAR1" and 0 < footer <= self._length - 12

    def _counted(self) -> bool:
        try:
            if self._format is Format.NDJSON:
                self.count = int(json.loads(self._last)["end"]["count"])
            else:
                mark, count = next(csv.reader([self._last.decode()]))[:2]
                self.count = int(count) if mark == "#end" else None
        except (ValueError, KeyError, TypeError, StopIteration):
            return False
        return not self._rest and self.count == self._lines - 2
