"""Reports: results of the other verbs as one page that works from disk, as tables and as pictures.

from enxuto.report import read_results, write_page

results = read_results(["ledger.json", "studies/curve-resnet20-test"])
write_page(results, "report.html")
"""

from enxuto.report.exhibit import Chart, Exhibit, Frame, Measure, Series
from enxuto.report.page import write_page
from enxuto.report.pictures import write_pictures
from enxuto.report.results import Results, read_results
from enxuto.report.texts import write_texts

__all__ = [
    "Chart",
    "Exhibit",
    "Frame",
    "Measure",
    "Results",
    "Series",
    "read_results",
    "write_page",
    "write_pictures",
    "write_texts",
]
