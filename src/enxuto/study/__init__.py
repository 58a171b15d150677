"""Studies: points computed once, recorded one by one, and resumed where they stopped; here or on a cluster.

from enxuto.study import Local, Point, Study

points = [Point("mine.rates:measure", {"step": step}) for step in (0.1, 0.2)]  # def measure(task) -> values
for result in Study(points, "out/rates").run(Local(workers=2)):
    print(result.settings, result.values or result.error)
"""

from enxuto.study.cluster import Cluster
from enxuto.study.executor import Executor, Serial
from enxuto.study.identity import content_hash
from enxuto.study.local import Local
from enxuto.study.point import Point, Predecessor, Task
from enxuto.study.run import Study, StudyProgress, StudyResults
from enxuto.study.store import Store
from enxuto.study.store_result import Result

__all__ = [
    "Cluster",
    "Executor",
    "Local",
    "Point",
    "Predecessor",
    "Result",
    "Serial",
    "Store",
    "Study",
    "StudyProgress",
    "StudyResults",
    "Task",
    "content_hash",
]
