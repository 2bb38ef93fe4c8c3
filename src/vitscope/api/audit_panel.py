"""The audit of an input as the view's panel: the sheet's sections as plain JSON, pictures as ``data:`` addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitscope.auditing.audit import Audit
    from vitscope.core.sample import Sample
    from vitscope.models.loaded import LoadedModel
    from vitscope.trace import Trace

#: Said where a trace's model is not at hand.
NO_MODEL = "the model this photo went through is not at hand here: view(trace, models=[model])"
#: Said in a file that carries none.
NOT_CARRIED = "this file does not carry it: vitscope explain … --audit"


def panel(found: Audit) -> dict[str, Any]:
    """What the panel shows: one sentence on the whole, the worst severity ("" for none), and the sheet's sections in their order."""
    from vitscope.api.audit_sheet import audit_view, verdict
    from vitscope.web.sheet import sections

    severities = {one.severity for one in found.findings}
    worst = next((severity for severity in ("fault", "warning", "note") if severity in severities), "")
    return {"verdict": verdict(found), "worst": worst, "sections": sections(audit_view(found))}


def auditor(trace: Trace, picture: int, models: Mapping[str, LoadedModel]) -> Callable[[], Audit] | None:
    """How one photo of a trace can be audited; None where neither the model that made it is at hand nor one of these with its weights."""
    made = trace.provenance
    model = getattr(trace.rerun, "model", None) or models.get(made.model)
    if model is None or model.weights_fingerprint() != made.weights:
        return None
    return lambda: audit_sample(model, trace.samples[picture])


def audit_sample(model: LoadedModel, sample: Sample) -> Audit:
    """As :func:`vitscope.audit`, from the file where it is still the one that was read, so that what it says of itself counts too."""
    from vitscope.api.auditing import audit

    return audit(model, sample.path if _unchanged(sample) else sample)


def _unchanged(sample: Sample) -> bool:
    from hashlib import sha256

    path = Path(sample.path)
    return bool(sample.path) and path.is_file() and sha256(path.read_bytes()).hexdigest() == sample.digest
