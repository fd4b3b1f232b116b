"""A server of the Batch API on your own machine, for tests and for trying things out.

| module | one responsibility |
|---|---|
| `server` | one emulator from its start to its end |
| `app` | routes, what frames every answer, errors |
| `batch_routes`, `file_routes`, `upload_routes` | the operations |
| `desk` | what every route needs, and who is asking |
| `forms`, `parameters`, `validation` | what is asked, and whether it may be |
| `answers` | what is said |
| `lifecycle` | which state follows which, and when |
| `execution`, `echo`, `instances` | what answers a line |
| `store` | what is remembered |
| `clock`, `rules`, `faults` | time, limits, and what goes wrong |

It shares no code with the client, so that the two can disagree.
"""

from .clock import Clock, RealClock, SteppedClock
from .desk import RequestRecord
from .echo import EchoExecutor
from .execution import Executor
from .faults import Fault, Faults
from .rules import Timings
from .server import BatchServer
from .store import Store, StoredBatch, StoredFile

__all__ = [
    "BatchServer",
    "Clock",
    "EchoExecutor",
    "Executor",
    "Fault",
    "Faults",
    "RealClock",
    "RequestRecord",
    "SteppedClock",
    "Store",
    "StoredBatch",
    "StoredFile",
    "Timings",
]
