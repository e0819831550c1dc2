"""Designs: what is varied, how it is sized, what it concludes."""

from scalelab.studies.result import Choice, HeldOut, PlannedRun, StudyResult

__all__ = ["Choice", "HeldOut", "PlannedRun", "StudyResult"]
