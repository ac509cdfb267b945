"""Runs the demo and makes docs/demo.svg of what it prints. Run by `make picture`."""

import os
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

TARGET = Path(__file__).parents[1] / "docs" / "demo.svg"


def main() -> int:
    done = subprocess.run(
        [sys.executable, "-m", "surefoot", "demo"],
        env=os.environ | {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": "110"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stdout.write(done.stdout)
        return done.returncode
    console = Console(record=True, width=110, file=Path(os.devnull).open("w"))  # noqa: SIM115
    console.print(Text.from_ansi("$ make demo\n\n" + done.stdout))
    # No font from elsewhere: the reader's own monospace serves.
    template = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    template = template.replace("Fira Code", "ui-monospace, DejaVu Sans Mono")
    template = re.sub(r"<!--.*?-->\s*", "", template, flags=re.DOTALL)
    TARGET.write_text(console.export_svg(title="surefoot demo", code_format=template), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
