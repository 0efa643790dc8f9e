"""Kept code under the names of the files that it was taken from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from supervisor.workers.code import CodeStore

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, traceback
from sandbox import kept_code
kept_code.install(sys.argv[1:2], sys.argv[2:3])
import plugin
from package import inner
print(plugin.__file__)
try:
    inner.fails()
except ValueError:
    traceback.print_exc()
"""


def test_tracebacks_name_the_plugins_own_files(tmp_path: Path) -> None:
    """With their lines, also where the original is another by now; `__file__` is the copy's."""
    plugins = tmp_path / "plugins"
    (plugins / "package").mkdir(parents=True)
    (plugins / "plugin.py").write_text("import package\n")
    (plugins / "package" / "__init__.py").write_text("")
    (plugins / "package" / "inner.py").write_text("def fails():\n    raise ValueError('here')\n")
    (root,) = CodeStore(tmp_path / "code").keep([plugins], ()).roots
    (plugins / "package" / "inner.py").write_text("nothing = 1\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), str(plugins)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == str(root / "plugin.py")
    assert f'File "{plugins}/package/inner.py", line 2, in fails' in done.stderr
    assert "raise ValueError('here')" in done.stderr
