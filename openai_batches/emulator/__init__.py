"""A server of the Batch API on your own machine, for tests and for trying things out.

Begin with ``server``, which puts the parts together: ``http`` takes the requests, ``batches`` carries batches out,
``executors`` answer their lines, ``store`` keeps everything, ``faults`` disturb it, ``webhooks`` report what is over,
and ``profiles`` imitate other services. ``background`` runs a server in a thread, ``options`` as a program.
Imports nothing of the client, so that the two can disagree.
"""

from openai_batches._moved import load_old_names
from openai_batches._names import LazyNames

_offered = LazyNames(globals())
with _offered:
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
    return _offered.load(name)


def __dir__() -> list[str]:
    return _offered.dir()
