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
| `context` | what every route needs, and who is asking |
| `forms`, `parameters`, `validation` | what is asked, and whether it may be |
| `answers`, `json_values` | what is said, and what a value is |
| `lifecycle` | which state follows which, and when |
| `schedule` | what is due by the clock |
| `keys`, `limits`, `retention` | who may ask, how often, and what is kept for how long |
| `webhooks`, `webhook_endpoints`, `signing` | telling receivers that a batch is over |
| `profiles`, `shaping`, `result_style`, `addresses` | what other services say and take |
| `execution`, `spool` | which line is next, and what is written about it |
| `executors`, `echo`, `instances`, `script` | what answers a line |
| `upstream`, `upstream_replies` | answers of another server |
| `store`, `records`, `indexes`, `ids` | what is remembered |
| `folder`, `database`, `loading`, `committing` | how that outlives the server |
| `clock`, `rules` | time and limits |
| `faults`, `fault_aim`, `fault_schedule` | what goes wrong: whom it befalls, and how often |
| `fault_kinds`, `fault_cases` | which faults there are, and what those on requests share |
| `faulty_connections`, `faulty_refusals`, `faulty_bodies` | faults on the way of an answer |
| `faulty_records`, `faulty_pages` | faults in what an answer says |
| `faulty_lives`, `faulty_lines`, `faulty_deliveries` | faults of batches, their results and their webhooks |

It shares no code with the client, so that the two can disagree.
"""

from openai_batches._moved import load_old_names
from openai_batches._names import LazyNames

_names = LazyNames(globals())
with _names:
    from openai_batches.emulator.background import (
        BackgroundServer as BackgroundServer,
    )
    from openai_batches.emulator.clock import (
        Clock as Clock,
        LastingClock as LastingClock,
        RealClock as RealClock,
        SteppedClock as SteppedClock,
    )
    from openai_batches.emulator.executors.echo import (
        EchoExecutor as EchoExecutor,
    )
    from openai_batches.emulator.executors.executor import (
        Executor as Executor,
        LineAnswer as LineAnswer,
        LineError as LineError,
    )
    from openai_batches.emulator.executors.script import (
        ScriptExecutor as ScriptExecutor,
    )
    from openai_batches.emulator.executors.upstream import (
        UpstreamExecutor as UpstreamExecutor,
    )
    from openai_batches.emulator.faults.faults import (
        Fault as Fault,
        Faults as Faults,
        Firing as Firing,
    )
    from openai_batches.emulator.http.context import (
        RequestRecord as RequestRecord,
    )
    from openai_batches.emulator.keys import (
        ApiKey as ApiKey,
    )
    from openai_batches.emulator.profiles.profiles import (
        PROFILES as PROFILES,
        Profile as Profile,
    )
    from openai_batches.emulator.rules import (
        Choices as Choices,
        Timings as Timings,
    )
    from openai_batches.emulator.server import (
        BatchServer as BatchServer,
    )
    from openai_batches.emulator.store.folder import (
        DataFolderError as DataFolderError,
    )
    from openai_batches.emulator.store.records import (
        StoredBatch as StoredBatch,
        StoredFile as StoredFile,
        StoredUpload as StoredUpload,
    )
    from openai_batches.emulator.store.store import (
        Store as Store,
    )
    from openai_batches.emulator.webhooks.endpoints import (
        Delivery as Delivery,
        WebhookEndpoint as WebhookEndpoint,
        WebhookMessage as WebhookMessage,
        WebhookRetries as WebhookRetries,
    )

load_old_names("emulator.executors", "emulator.faults", "emulator.profiles")


def __getattr__(name: str) -> object:
    return _names.load(name)


def __dir__() -> list[str]:
    return _names.dir()
