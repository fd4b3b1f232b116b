"""``openai-batches --install-completion``: install the completion script of the shell."""

import re
import shlex
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.completion.detect import ShellDetectionError, detect_shell
from cyclopts.completion.install import get_default_completion_path

from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.output.save import STDOUT, OutputName, refuse_file
from openai_batches.cli.output.terminal import note, say
from openai_batches.cli.output.texts import path_text

__all__ = ["app"]

Shell = Literal["bash", "zsh", "fish", "powershell"]

_FLAG = "--install-completion"
_NEXT: dict[Shell, str] = {
    "bash": "New shells complete `openai-batches` if the package bash-completion is installed; else add to ~/.bashrc:\n"
    "  source {file}",
    "zsh": "Add to ~/.zshrc, above the line with compinit if there is one, and start a new shell:\n"
    "  fpath=({folder} $fpath); autoload -Uz compinit && compinit",
    "fish": "New shells complete `openai-batches`.",
    "powershell": "Add to the file that $PROFILE names, and start a new shell:\n  . {file}",
}
# An argument of which is said what it is, and nothing of what it can be.
_ZSH_ARGUMENT = re.compile(r"^(\s+'(?:\d+|\*):(?:[^':\\]|\\.)*)(' \\)$", re.MULTILINE)

app: App = command(
    _FLAG,
    examples=f"""\
openai-batches {_FLAG}
openai-batches {_FLAG} --shell zsh
source <(openai-batches {_FLAG} --shell bash -o -)   # just here""",
)


@app.default
def install_completion(
    *,
    shell: Annotated[Shell | None, Parameter()] = None,
    output: OutputName = None,
    force: bool = False,
) -> ExitCode:
    """Install completion for the shell: of commands, options and their values.

    Writes one file and changes no other. Run it again after an update of the program.

    Args:
        shell: The shell (the current one).
        output: Where to write to, `-` for standard output (where the shell looks for it).
        force: Replace the file that -o names, if it is there.
    """
    # The table of commands names this module, so it cannot be imported at the top.
    from openai_batches.cli.app import app as program  # noqa: PLC0415

    try:
        chosen: Shell = shell or detect_shell()
    except ShellDetectionError as error:
        raise CommandError("The shell could not be detected", "Name it with --shell") from error
    script = _offering_files(program.generate_completion(shell=chosen), chosen)
    if output == STDOUT:
        say(script.rstrip("\n"))
        return ExitCode.DONE
    # Where the shell looks for it there is no other file of this name.
    path = (output or get_default_completion_path(chosen, program.name[0])).absolute()
    if output is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        refuse_file(output, force=force)
    path.write_text(script, "utf-8")
    say(f"Wrote {path_text(path)}")
    note(_NEXT[chosen].format(file=shlex.quote(str(path)), folder=shlex.quote(str(path.parent))))
    return ExitCode.DONE


def _offering_files(script: str, shell: Shell) -> str:
    """Return a script that offers the names of files where nothing else is known, as shells do by themselves."""
    if shell == "bash":
        return script.replace("complete -F ", "complete -o default -F ")
    return _ZSH_ARGUMENT.sub(r"\1:_files\2", script) if shell == "zsh" else script
