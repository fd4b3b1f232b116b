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
To try it without a key and at no cost:

openai-batches run requests.jsonl --local -o results.jsonl

Exit codes:

  0  done
  1  done, and some requests failed or problems were found
  2  wrong arguments, configuration or local files
  3  an error of the service or the network
  4  stopped before the end; the same command continues"""

app: App = App(
    name="openai-batches",
    help="Use the OpenAI Batch API, or a compatible service, from the command line.",
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
            ("show", "show", "Show the details of a batch."),
            ("create", "create", "Create a batch from a request file."),
            ("wait", "wait", "Wait until batches have ended."),
            ("cancel", "cancel", "Cancel batches."),
            ("results", "results", "Get the results of a batch."),
        ),
    ),
    (
        _JOBS,
        (
            ("run", "run", "Run any number of requests and collect their results."),
            ("jobs", "jobs", "Show the jobs on this machine."),
            ("adopt", "adopt", "Add existing batches to a job."),
        ),
    ),
    (
        _REQUESTS,
        (
            ("requests", "requests", "Make a request file from prompts."),
            ("validate", "validate", "Check a request file before it is sent."),
            ("estimate", "estimate", "Estimate what a request file will cost."),
            ("split", "split", "Cut a request file into shards."),
        ),
    ),
    (
        _SERVICE,
        (
            ("files", "files", "List, upload, download and delete files."),
            ("doctor", "doctor", "Find unused files and stuck batches at the service."),
            ("gc", "gc", "Delete unused files at the service."),
            ("webhook", "webhook", "Receive the service's webhooks."),
            ("serve", "serve", "Run an emulator of the Batch API on this machine."),
        ),
    ),
)

for _group, _commands in _COMMANDS:
    for _order, (_name, _module, _help) in enumerate(_commands):
        app.command(f"{_COMMANDS_FOLDER}.{_module}:app", name=_name, help=_help, group=_group, sort_key=_order)
app.command(
    f"{_COMMANDS_FOLDER}.completion:app",
    name="--install-completion",
    help="Install completion for the shell.",
    group=app["--help"].group,
)
