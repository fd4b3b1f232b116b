"""A server of the Batch API on your own machine, for tests and for trying things out.

| module | one responsibility |
|---|---|
| `server` | one emulator from its start to its end |
| `background` | the same in a thread of its own |
| `connections` | who is silent, and what is no HTTP |
| `options`, `health` | the program's arguments, and how the server is |
| `app` | routes, what frames every answer, errors |
| `batch_routes`, `file_routes`, `upload_routes`, `webhook_routes` | the operations |
| `desk` | what every route needs, and who is asking |
| `forms`, `parameters`, `validation` | what is asked, and whether it may be |
| `answers` | what is said |
| `lifecycle` | which state follows which, and when |
| `agenda` | what is due by the clock |
| `keys`, `limits`, `retention` | who may ask, how often, and what is kept for how long |
| `webhooks`, `webhook_endpoints`, `signing` | telling receivers that a batch is over |
| `profiles`, `shaping`, `result_style`, `addresses` | what other services say and take |
| `execution`, `spool` | which line is next, and what is written about it |
| `executors`, `echo`, `instances`, `script` | what answers a line |
| `upstream`, `upstream_replies` | answers of another server |
| `store`, `records`, `shelves`, `ids` | what is remembered |
| `folder`, `database`, `loading`, `committing` | how that outlives the server |
| `clock`, `rules` | time and limits |
| `faults`, `fault_aim`, `fault_schedule` | what goes wrong: whom it befalls, and how often |
| `fault_kinds`, `fault_cases` | which faults there are, and what those on requests share |
| `faulty_connections`, `faulty_refusals`, `faulty_bodies` | faults on the way of an answer |
| `faulty_records`, `faulty_pages` | faults in what an answer says |
| `faulty_lives`, `faulty_lines`, `faulty_deliveries` | faults of batches, their results and their webhooks |

It shares no code with the client, so that the two can disagree.
"""

from .background import BackgroundServer
from .clock import Clock, LastingClock, RealClock, SteppedClock
from .desk import RequestRecord
from .echo import EchoExecutor
from .executors import Executor, LineAnswer, LineError
from .faults import Fault, Faults, Firing
from .folder import DataFolderError
from .keys import ApiKey
from .profiles import PROFILES, Profile
from .records import StoredBatch, StoredFile, StoredUpload
from .rules import Choices, Timings
from .script import ScriptExecutor
from .server import BatchServer
from .store import Store
from .upstream import UpstreamExecutor
from .webhook_endpoints import Delivery, WebhookEndpoint, WebhookMessage, WebhookRetries

__all__ = [
    "PROFILES",
    "ApiKey",
    "BackgroundServer",
    "BatchServer",
    "Choices",
    "Clock",
    "DataFolderError",
    "Delivery",
    "EchoExecutor",
    "Executor",
    "Fault",
    "Faults",
    "Firing",
    "LastingClock",
    "LineAnswer",
    "LineError",
    "Profile",
    "RealClock",
    "RequestRecord",
    "ScriptExecutor",
    "SteppedClock",
    "Store",
    "StoredBatch",
    "StoredFile",
    "StoredUpload",
    "Timings",
    "UpstreamExecutor",
    "WebhookEndpoint",
    "WebhookMessage",
    "WebhookRetries",
]
