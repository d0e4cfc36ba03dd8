"""The table the bench prints."""

from dataclasses import dataclass, field


@dataclass
class Table:
    """Rows in the order they were measured; each is also printed as it comes."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    met: bool = True

    def add(
        self, what: str, figure: str, *, bar: str = "", met: bool = True, spread: "list[float] | None" = None
    ) -> None:
        """A figure, and whether it meets its bar. `spread` shows the rounds behind a median."""
        rounds = f"   ({', '.join(f'{value:,.0f}' for value in spread)})" if spread else ""
        self.rows.append((what, figure + rounds, bar, ("met" if met else "MISSED") if bar else ""))
        self.met &= met
        print(f"  {what}: {figure}{rounds}", flush=True)

    def print(self) -> None:
        """All of it, aligned."""
        widths = [max(len(row[column]) for row in self.rows) for column in range(4)]
        print()
        for row in self.rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
