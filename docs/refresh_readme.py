"""Puts what ``make demo`` prints into README.md, so that no figure stands there that no command prints.

Run as ``make readme``. Owns the text between the two markers, and nothing else.
"""

import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- what make demo prints -->\n", "<!-- end -->\n"


def main() -> None:
    """Run the demonstration and replace the text between the markers by its output."""
    command = [sys.executable, "-m", "janusjit", "demo"]
    output = subprocess.run(command, cwd=README.parent, stdout=subprocess.PIPE, text=True, check=True).stdout
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}```text\n{output}```\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
