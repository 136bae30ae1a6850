"""An organisation in a temporary directory: its policy, and commands that run under it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.command import Done, excise_cli


@dataclass(frozen=True)
class Organisation:
    """Where the policy of the system and the user's own stand."""

    place: Path

    @property
    def path(self) -> Path:
        """The system's policy."""
        return self.place / "etc" / "excise" / "policy.toml"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a command find the policy here."""
        return {"XDG_CONFIG_DIRS": str(self.place / "etc"), "XDG_CONFIG_HOME": str(self.place / "home")}

    def rules(self, text: str) -> None:
        """Set the system's policy."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.path.write_text(text)
        self.path.chmod(0o644)

    def excise(self, *args: str | Path) -> Done:
        """Run a command under the policy."""
        return excise_cli(*args, environment=self.environment)
