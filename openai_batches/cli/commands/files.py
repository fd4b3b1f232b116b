"""``openai-batches files``: the files at the service."""

from cyclopts import App

from openai_batches.cli.command import command

__all__ = ["app"]

_ROOMS = "openai_batches.cli.commands.files_"
_COMMANDS = (
    ("list", "List files, newest first."),
    ("upload", "Upload a file."),
    ("download", "Download a file."),
    ("delete", "Delete files."),
)

app: App = command(
    "files",
    examples="""\
openai-batches files list --purpose batch
openai-batches files upload requests.jsonl
openai-batches files download file-abc -o output.jsonl
openai-batches files delete file-abc file-def""",
)
app.help = "List, upload, download and delete the files at the service."
for _order, (_name, _help) in enumerate(_COMMANDS):
    app.command(f"{_ROOMS}{_name}:app", name=_name, help=_help, sort_key=_order)
