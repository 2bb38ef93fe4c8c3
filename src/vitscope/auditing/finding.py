"""Finding: one thing that is wrong, or worth knowing, about what a model was fed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Worst first. A fault: the model was not fed what it was trained on. A warning: the photo cannot show what it should. A note: no fault.
SEVERITIES = ("fault", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        kind: a fixed name for programs ("channels-swapped").
        severity: "fault", "warning" or "note".
        what: one plain sentence.
        evidence: the numbers it rests on.
        fix: what to do.
        weight: how much it matters among findings of its severity, 0..1.
    """

    kind: str
    severity: str
    what: str
    evidence: str
    fix: str
    weight: float = 0.5

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {"kind": self.kind, "severity": self.severity, "what": self.what, "evidence": self.evidence, "fix": self.fix}


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Worst first; equal ones stay in order."""
    return tuple(sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), -one.weight)))
