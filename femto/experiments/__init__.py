"""The 43 experiments of the journal, and recipes of one's own: data, models, stages and a criterion, run by one small engine.

`recipe.py` reads recipes, `recipes/` holds the journal's; `sources.py` has the texts, `engine.py` runs the stages in a folder,
`population.py` trains several models at once, `measures.py` and `verdict.py` tell whether it succeeded, and `results.json` has
what we measured.
"""

from femto.experiments.engine import Run
from femto.experiments.reading import load, numbers
from femto.experiments.recipe import Recipe
from femto.experiments.verdict import Verdict, judge

__all__ = ["Recipe", "Run", "Verdict", "judge", "load", "numbers"]
