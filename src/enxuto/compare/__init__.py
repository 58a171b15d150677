"""Two models side by side: how far weights and layer outputs moved, which answers changed, and on which images.

Made for an original and what became of it, so that weights and values are matched by name. Not here: models whose
graphs have nothing in common; of those only the answers can be compared.
"""

from enxuto.compare.answers import AnswerComparison, compare_answers
from enxuto.compare.layers import LayerDifference, compare_layers
from enxuto.compare.sheet import contact_sheet

__all__ = ["AnswerComparison", "LayerDifference", "compare_answers", "compare_layers", "contact_sheet"]
