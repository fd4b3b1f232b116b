"""The table of commands. The module of a command is imported when the command is called, so ``--help`` is quick."""

from cyclopts import App, Group, Parameter

from openai_batches.version import __version__

__all__ = ["app"]

_COMMANDS_FOLDER = "openai_batches.cli.commands"
_BATCHES = Group("Batches", sort_key=1)
_JOBS = Group("Jobs", sort_key=2)
_REQUESTS = Group("Requests", sort_key=3)
_SERVICE = Group("At the service", sort_key=4)

_EPILOGUE = """\
Without a key, and without cost:

openai-batches run requests.jsonl --local -o results.jsonl

Exit codes:

  0  done
  1  done, and some requests failed or problems were found
  2  it cannot be done as it was asked
  3  the service or the network said no
  4  stopped before the end; the same command goes on"""

app: App = App(
    name="openai-batches",
    help="The OpenAI Batch API, and every service that speaks it, from the command line.",
    help_epilogue=_EPILOGUE,
    help_format="plaintext",
    version=__version__,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), show_default=False),
)
app["--help"].group = app["--version"].group = Group("Program", sort_key=9)

# group -> name -> (module, help)
_COMMANDS: tuple[tuple[Group, tuple[tuple[str, str, str], ...]], ...] = (
    (
        _BATCHES,
        (
            ("list", "list", "List batches, newest first."),
            ("show", "show", "Show all that is known of a batch."),
            ("create", "create", "Create a batch from a request file."),
            ("wait", "wait", "Wait until batches have ended."),
            ("cancel", "cancel", "Cancel batches."),
            ("results", "results", "Get the results of a batch."),
        ),
    ),
    (
        _JOBS,
        (
            ("run", "run", "Carry any number of requests to their results."),
            ("jobs", "jobs", "Show the jobs on this machine."),
            ("adopt", "adopt", "Make a batch part of a job."),
        ),
    ),
    (
        _REQUESTS,
        (
            ("requests", "requests", "Make a request file from prompts."),
            ("validate", "validate", "Check a request file before it is sent."),
            ("estimate", "estimate", "Say what a request file will cost."),
            ("split", "split", "Cut a request file into batches."),
        ),
    ),
    (
        _SERVICE,
        (
            ("files", "files", "List, upload, download and delete files."),
            ("doctor", "doctor", "Find what is left behind at the service."),
            ("gc", "gc", "Delete what is left behind at the service."),
            ("webhook", "webhook", "Receive the service's webhooks."),
            ("serve", "serve", "Serve the Batch API on this machine (emulator)."),
        ),
    ),
)

for _group, _commands in _COMMANDS:
    for _order, (_name, _module, _help) in enumerate(_commands):
        app.command(f"{_COMMANDS_FOLDER}.{_module}:app", name=_name, help=_help, group=_group, sort_key=_order)
app.command(
    f"{_COMMANDS_FOLDER}.completion:app",
    name="--install-completion",
    help="Let the shell complete what is typed.",
    group=app["--help"].group,
)
