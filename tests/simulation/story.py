"""What happened in one simulated world: told only when something went wrong."""

import anyio


class Story:
    """Lines with the virtual time of each. `again` is the command that tells the same story once more."""

    def __init__(self, title: str, again: str = "") -> None:
        self.title = title
        self.again = again
        self.lines: list[str] = []

    def tell(self, text: str) -> None:
        """Add a line."""
        self.lines.append(f"{anyio.current_time():10.2f}  {text}")

    def __str__(self) -> str:
        again = [f"To see it again: {self.again}"] if self.again else []
        return "\n".join([self.title, *self.lines, *again])
