"""What a comparison of the stores found."""

from __future__ import annotations

from dataclasses import dataclass, field

from analytics.mirror.fingerprint import GroupKey
from analytics.mirror.ledger import DayKey


@dataclass(frozen=True)
class Difference:
    """A day whose copy is not what it should be."""

    key: DayKey
    expected: str
    """Description of the rows that should be there."""
    found: str
    where: tuple[GroupKey, ...] = ()
    """The (venue, symbol) groups that differ; empty when unknown."""
    healed: bool = False

    def __str__(self) -> str:
        groups = "; ".join(" ".join(map(str, group)) for group in self.where[:5])
        outcome = "healed" if self.healed else "NOT healed"
        kind, day = self.key
        return f"{kind} of {day}: expected {self.expected}, was {self.found}; {groups or 'all'}; {outcome}"


@dataclass
class VerificationReport:
    """The result of comparing all closed days."""

    equal: list[DayKey] = field(default_factory=list)
    differing: list[Difference] = field(default_factory=list)
    unknown: dict[DayKey, str] = field(default_factory=dict)
    """Days that could not be compared, with the reason."""
    failed: dict[DayKey, str] = field(default_factory=dict)
    """Days that could not be copied, with the reason."""

    @property
    def is_good(self) -> bool:
        """Whether all compared days are equal now, and no copy failed."""
        return not self.failed and all(difference.healed for difference in self.differing)
