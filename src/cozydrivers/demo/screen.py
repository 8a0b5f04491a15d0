"""What the demo prints, and what it has checked."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table


class Screen:
    """Prints the story; `failures` counts what was not as it should be."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.failures: int = 0

    def act(self, title: str) -> None:
        """Begin an act."""
        self._console.print(f"\n[bold]{title}[/bold]")

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(f"  {text}", highlight=False)

    def check(self, truth: bool, claim: str) -> None:
        """Print a claim with the proof that it was looked at."""
        self.failures += not truth
        mark = "[green]✓[/green]" if truth else "[red]✗ not so:[/red]"
        self._console.print(f"  {mark} {claim}", highlight=False)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table."""
        table = Table(*columns, box=None, padding=(0, 2), header_style="dim")
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        self._console.print(table)
