"""What the demo prints, and what it has checked."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table


class Screen:
    """Prints the story; `failures` counts what was not as it should be.

    One that is `held` keeps what it is given until it is shown, so that stories that run side by side are read one
    after the other.
    """

    def __init__(self, console: Console, *, held: bool = False) -> None:
        self.failures: int = 0
        self._console = console
        self._held: list[str | Table] | None = [] if held else None

    def show(self) -> None:
        """Print what was held, and from now on everything at once."""
        held, self._held = self._held or (), None
        for each in held:
            self._print(each)

    def act(self, title: str) -> None:
        """Begin an act."""
        self._print(f"\n[bold]{title}[/bold]")

    def say(self, text: str) -> None:
        """Print a line."""
        self._print(f"  {text}")

    def check(self, truth: bool, claim: str) -> None:
        """Print a claim with the proof that it was looked at."""
        self.failures += not truth
        mark = "[green]✓[/green]" if truth else "[red]✗ not so:[/red]"
        self._print(f"  {mark} {claim}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table."""
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for column in columns:
            table.add_column(column, overflow="fold")  # a name that is cut short is none
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        self._print(table)

    def _print(self, what: str | Table) -> None:
        if self._held is None:
            self._console.print(what, highlight=False)
        else:
            self._held.append(what)
