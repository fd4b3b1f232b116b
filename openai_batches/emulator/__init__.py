"""A server of the Batch API on your own machine, for tests and for trying things out.

| module | one responsibility |
|---|---|
| `server` | one emulator from its start to its end |
| `background` | the same in a thread of its own |
| `connections` | who is silent, and what is no HTTP |
| `options`, `serving`, `health` | the program: its arguments, its life, and how the server is |
| `checking` | whether parameters can be right |
| `app` | routes, what frames every answer, errors |
| `batch_routes`, `file_routes`, `upload_routes`, `webhook_routes` | the operations |
| `desk` | what every route needs, and who is asking |
| `forms`, `parameters`, `validation` | what is asked, and whether it may be |
| `answers`, `json_values` | what is said, and what a value is |
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

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Nothing is loaded before it is asked for: the program is to answer to Ctrl-C before all of it is there.
_HOMES = {
    "ApiKey": "keys",
    "BackgroundServer": "background",
    "BatchServer": "server",
    "Choices": "rules",
    "Clock": "clock",
    "DataFolderError": "folder",
    "Delivery": "webhook_endpoints",
    "EchoExecutor": "echo",
    "Executor": "executors",
    "Fault": "faults",
    "Faults": "faults",
    "Firing": "faults",
    "LastingClock": "clock",
    "LineAnswer": "executors",
    "LineError": "executors",
    "PROFILES": "profiles",
    "Profile": "profiles",
    "RealClock": "clock",
    "RequestRecord": "desk",
    "ScriptExecutor": "script",
    "SteppedClock": "clock",
    "Store": "store",
    "StoredBatch": "records",
    "StoredFile": "records",
    "StoredUpload": "records",
    "Timings": "rules",
    "UpstreamExecutor": "upstream",
    "WebhookEndpoint": "webhook_endpoints",
    "WebhookMessage": "webhook_endpoints",
    "WebhookRetries": "webhook_endpoints",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
