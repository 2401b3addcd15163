"""Audit: detectors of protection, their combined verdict, and the difference from the originals if available."""

from howfar.audit.calibration import Calibration, calibrated
from howfar.audit.detect import DETECTORS, AuditResult, audit
from howfar.audit.difference import Difference, difference
from howfar.audit.sample import Sample

__all__ = ["DETECTORS", "AuditResult", "Calibration", "Difference", "Sample", "audit", "calibrated", "difference"]
