"""Puts what commands print into README.md, so that no figure stands there that no command prints.

Run as ``make readme``. Owns the text between its pairs of markers, and nothing else: what ``make demo`` prints now, and
what ``make programs`` wrote last.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
END = "<!-- end -->\n"


def replaced(text: str, begin: str, content: str) -> str:
    """Return a text with another content between a marker and the next end."""
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(END)
    return f"{before}{begin}{content}{END}{after}"


def demonstration() -> str:
    """Return what ``make demo`` prints."""
    command = [sys.executable, "-m", "janusjit", "demo"]
    environment = {**os.environ, "JANUSJIT_CACHE": "0"}  # as it is the first time: nothing compiled is found on disk
    output = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return f"```text\n{output}```\n"


def programs() -> str:
    """Return the figures of ``make programs``, as a table and a sentence."""
    record = json.loads((ROOT / "benchmarks" / "results" / "programs.json").read_text(encoding="utf-8"))
    heading = "| | plain Python | `@jit` | ratio | time in compiled code | host calls a step |"
    lines = [heading, "|---|---|---|---|---|---|"]
    for row in record["programs"]:
        times = [f"{row[name] * 1e6:.0f} µs" for name in ("eager_seconds", "jit_seconds")]
        cells = [row["what"], *times, f"{row['ratio']:.1f}×", f"{row['graph_share']:.0%}", f"{row['host_calls']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    turns = [record["whole_loop"][f"{name}_seconds"] * 1e6 for name in ("compiled_turn", "compiled_step", "eager_turn")]
    sentence = (
        f"In one call with the loop inside, a turn takes {turns[0]:.1f} µs, a compiled call of one turn "
        f"{turns[1]:.1f} µs,\na turn in plain Python {turns[2]:.1f} µs.\n"
    )
    return "\n".join(lines) + f"\n\n{sentence}"


def main() -> None:
    """Replace what stands between the markers."""
    text = README.read_text(encoding="utf-8")
    text = replaced(text, "<!-- what make demo prints -->\n", demonstration())
    text = replaced(text, "<!-- what make programs wrote -->\n", programs())
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
