"""Why a model is stuck: `diagnose` measures a model at work, `find` says in plain words what is wrong.

`records.py` has what is measured, with units; `known_data.py` the floors of the journal's data sets.
"""

from femto.analysis.diagnosis.findings import Finding, find
from femto.analysis.diagnosis.measure import diagnose
from femto.analysis.diagnosis.records import Diagnosis

__all__ = ["Diagnosis", "Finding", "diagnose", "find"]
