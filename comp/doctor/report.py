"""The report of `python -m comp doctor`: rows of facts, then a line for each problem."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class Report:
    """Rows (topic, text), and problems. An error will make a command fail; a warning will not."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[Literal["error", "warning"], str]] = field(default_factory=list)

    def add(self, topic: str, text: str) -> None:
        """Add a row; of several rows of one topic only the first shows it."""
        self.rows.append((topic, text))

    def error(self, message: str) -> None:
        """Add a problem that will make a command fail, as `<what is wrong>; <what to do>`."""
        self._add_problem("error", message)

    def warn(self, message: str) -> None:
        """Add a problem that no command fails of, as `<what is wrong>; <what to do>`."""
        self._add_problem("warning", message)

    def _add_problem(self, severity: Literal["error", "warning"], message: str) -> None:
        message = " ".join(message.split())
        if message not in [present for _, present in self.problems]:  # one cause, seen by two checks
            self.problems.append((severity, message))

    @property
    def has_errors(self) -> bool:
        return any(severity == "error" for severity, _ in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `--json`."""
        return {
            "rows": [{"topic": topic, "text": text} for topic, text in self.rows],
            "problems": [{"severity": severity, "message": message} for severity, message in self.problems],
        }

    def __str__(self) -> str:
        width = max((len(topic) for topic, _ in self.rows), default=0)
        lines, previous = [], None
        for topic, text in self.rows:
            lines.append(f"{'' if topic == previous else topic:<{width}}  {text}")
            previous = topic
        problems = [f"{severity}: {message}" for severity, message in self.problems]
        return "\n".join([*lines, "", *(problems or ["no problem was found"])])
