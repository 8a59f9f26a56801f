"""The shell scripts, where they decide something: which environment they use."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.accelerator import checks

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path):
    """A folder with the scripts in it, and nothing to install."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "constraints.txt").touch()
    return tmp_path


def bash(project, script, **env):
    inactive = ("VIRTUAL_ENV", "CONDA_PREFIX")
    env = {k: v for k, v in os.environ.items() if k not in inactive} | env
    command = ["bash", "-c", "set -euo pipefail\n" + script]
    return subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, check=False
    )


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def make_venv(folder, *options):
    subprocess.run([sys.executable, "-m", "venv", *options, folder], check=True)


USE = """
. scripts/environment.sh
python() {  # what would install the project
    case "$*" in *install*) ;; *) command python "$@" ;; esac
}
use_environment plots
command python -m pip --version
"""


def test_an_environment_whose_making_was_interrupted_is_completed(project):
    make_venv(project / ".venv", "--without-pip")
    (project / ".venv" / "bin" / "activate").unlink()
    (project / ".venv" / "kept").touch()
    done = bash(project, USE, PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert str(project / ".venv") in done.stdout.splitlines()[-1]
    assert (project / ".venv" / "kept").exists()


def test_an_environment_whose_python_is_gone_is_made_again(project):
    make_venv(project / ".venv", "--without-pip")
    for path in (project / ".venv" / "bin").glob("python*"):
        path.unlink()
        path.symlink_to("/nowhere/python3")
    done = bash(project, USE, PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert str(project / ".venv") in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("active", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_that_is_too_old(project, active):
    old = project / "old"
    program(old / "bin" / "python", '[ "$1" = --version ] && echo Python 3.9.18\n')
    path = f"{old / 'bin'}:{os.environ['PATH']}"
    done = bash(project, USE, PATH=path, **{active: str(old)})
    assert done.returncode == 2
    assert "Python 3.11 or newer, python is Python 3.9.18; activate" in done.stderr


def run_check(project, python):
    """Runs .ci/run with a Python 3.20 and this script as the second environment's."""
    (project / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", project / ".ci")
    for script in ("test.sh", "browser/check.sh"):
        program(project / "scripts" / script, "")
    functions = "use_environment", "share_compilations", "compile_quickly"
    (project / "scripts" / "environment.sh").write_text(
        "".join(f"{name}() {{ :; }}\n" for name in functions)
    )
    venv = project / ".venv-newest" / "bin"
    program(venv / "python", python)
    (venv / "activate").write_text(f'PATH="{venv}:$PATH"\n')
    newest = 'echo "$@" >>calls\n[ "$1" != --version ] || echo Python 3.20.1\n'
    program(project / "bin" / "python3.20", newest)
    return bash(project, ".ci/run", PATH=f"{project / 'bin'}:{os.environ['PATH']}")


@pytest.mark.parametrize(("before", "cleared"), [("3.20.1", False), ("3.19.4", True)])
def test_the_second_environment_is_of_the_newest_python(project, before, cleared):
    done = run_check(project, f'[ "$1" != --version ] || echo Python {before}\n')
    assert done.returncode == 0, done.stderr
    calls = (project / "calls").read_text().splitlines()
    assert ("-m venv --clear .venv-newest" in calls) is cleared
    assert ("-m venv .venv-newest" in calls) is not cleared


@pytest.mark.parametrize("failing", ["*test_values*", "*--ignore*"])
def test_a_failure_under_the_newest_python_fails_the_check(project, failing):
    done = run_check(project, f'case "$*" in {failing}) exit 1;; esac\n')
    assert done.returncode == 1


def test_the_tests_of_an_accelerator_need_no_more_than_it_has():
    """Without the libraries that scripts/accelerator.sh does not ask for."""
    missing = "hypothesis", "onnx", "onnxruntime", "xdist", "jaxtyping", "soundfile"
    script = (
        "import sys; sys.modules |= dict.fromkeys(sys.argv[1].split()); import pytest; "
        "import benchmarks.accelerator.trainings; "
        "sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider', "
        "*sys.argv[2:]]))"
    )
    files = [path for paths in checks.PARTS.values() for path in paths]
    done = subprocess.run(
        [sys.executable, "-c", script, " ".join(missing), *files],
        cwd=ROOT,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
