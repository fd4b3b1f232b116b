"""``python -m openai_batches.cli``, which is the same as ``openai-batches``."""

from openai_batches.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
