"""What went wrong with some of several: each is told as it happens, and the others go on."""

from openai_batches.cli.errors import ExitCode
from openai_batches.cli.explain import explain
from openai_batches.cli.output.terminal import say_advice, say_error

__all__ = ["Failures"]


class Failures:
    """Tells what went wrong with some of several things, and what to do about it once.

    Attributes:
        code: the worst exit code of them; DONE while there are none.
    """

    def __init__(self) -> None:
        self.code: ExitCode = ExitCode.DONE
        self._advice: dict[str, None] = {}

    def tell(self, subject: str, error: Exception) -> None:
        """Say what happened to one of them."""
        explanation = explain(error)
        self.code = max(self.code, explanation.code)
        if explanation.advice:
            self._advice[explanation.advice] = None
        say_error(f"{subject}: {explanation.message}")

    def advise(self) -> None:
        """Say what to do about all of them."""
        for advice in self._advice:
            say_advice(advice)
