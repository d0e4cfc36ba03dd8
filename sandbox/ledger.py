"""What the sandbox received and what came of it, so that a test can ask what really happened."""

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

BODY_BYTES = 8_192
TOTAL_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Entry:
    """One request and its end."""

    seq: int
    at: float  # the sandbox's clock
    supplier: str
    route: str
    method: str
    path: str
    query: dict[str, str]
    key: str | None
    body: str  # the first 8 KB
    status: int | None = None  # None: no answer was sent
    effects: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    sent_bytes: int = 0
    complete: bool = False  # the whole answer was handed to the connection
    seconds: float = 0.0  # real ones

    def size(self) -> int:
        """About how many bytes it holds."""
        return len(self.body) + len(self.path) + sum(len(name) + len(self.query[name]) for name in self.query) + 400

    def shown(self) -> dict[str, Any]:
        """As the control API shows it."""
        return asdict(self)


class Ledger:
    """The last entries, bounded in number and in bytes, and counts of all of them."""

    def __init__(self, *, limit: int = 20_000) -> None:
        """`limit` entries are kept; older ones are dropped and only counted."""
        self.limit = limit
        self._seq = 0
        self.clear()

    def clear(self) -> None:
        """Forget entries and counts. Sequence numbers go on."""
        self.entries: deque[Entry] = deque()
        self.counts: Counter[tuple[str, str, int | None]] = Counter()
        self.dropped = 0
        self._bytes = 0

    def note(self, **fields: Any) -> Entry:
        """Begin an entry; the fields are Entry's."""
        self._seq += 1
        entry = Entry(seq=self._seq, **fields)
        self.entries.append(entry)
        self._bytes += entry.size()
        while len(self.entries) > self.limit or self._bytes > TOTAL_BYTES:
            self._bytes -= self.entries.popleft().size()
            self.dropped += 1
        return entry

    def close(self, entry: Entry) -> None:
        """Count an entry that has its end."""
        self.counts[(entry.supplier, entry.route, entry.status)] += 1

    def find(self, *, limit: int, after: int = 0, effect: str | None = None, **equal: Any) -> list[Entry]:
        """Entries in the order received, after a sequence number, whose fields equal those given (None: any).

        `effect` is the beginning of one of the entry's effects.
        """
        wanted = {name: value for name, value in equal.items() if value is not None}
        found: list[Entry] = []
        for entry in self.entries:
            if len(found) == limit:
                break
            if entry.seq <= after or any(getattr(entry, name) != value for name, value in wanted.items()):
                continue
            if effect is None or any(each.startswith(effect) for each in entry.effects):
                found.append(entry)
        return found
