"""Set up and run the course.

    python course.py JOB [ARGUMENTS] [NAME=VALUE ...]

    lab          set up what is missing and open JupyterLab on the first page   PORT=8888 LAB_ARGS="--ip=0.0.0.0"
    start        copy a lab, or a lecture without its outputs, into work/         start lab04   start LECTURE=05
    test         run every test, or those that the arguments select              test tests/unit -k rounding
    check        lint, and the fast tests: about a minute
    fuzz         try the property tests with other examples every time            fuzz MINUTES=5
    bench        time our kernels against other libraries; all, or one row        bench "XNOR product, batch 1"
    execute      run notebooks again and save them with their outputs            execute notebooks/05_*.ipynb
    exercises    generate exercises/ from solutions/
    nets         make the trained networks that come with the library again, after a recipe has changed
    grade        grade a folder of handed-in notebooks                            grade LAB=lab01 SUBMISSIONS=submitted
    formgrader   open what was graded, to grade conclusions by hand               PORT=8888
    slides       make a slide deck of every lecture in build/slides/              slides --check 02 measures them
    html         make a web page of every lecture in build/html/
    clean-cache  forget the trained models
    setup        only set up the environment in .venv

Everything is installed in .venv (and, for the tests, .venv-test) inside this folder; nothing else on the computer is
changed. Needs nothing but Python 3.11 or later; the same on Linux, macOS and Windows.
"""
# Written so that an old Python can still read this file and say what is wrong: no syntax newer than 3.6, imports of
# newer modules where they are used.
import ast
import contextlib
import errno
import glob
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
import webbrowser
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
VENV_TEST = ROOT / ".venv-test"
GRADING = ROOT / "grading"  # all that grading writes
PYTHONS = ((3, 11), (3, 15))  # first that works, first that does not
FIRST_PAGE = "notebooks/00_start_here.ipynb"
DISK_GB = 3  # .venv and the downloads on their way there
DISK_GB_CUDA = 9
STAMP = "set-up-complete"
CELL_TIMEOUT_S = 600
# What a reader's own settings must not do to what is started from here: put other packages in front of ours, take the
# assertions out of it, make warnings fatal, send its figures elsewhere, or pip's packages; let pip install nothing.
UNWANTED = (
    "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONOPTIMIZE", "PYTHONWARNINGS", "PYTHONINSPECT",
    "MPLBACKEND", "NUMBA_DISABLE_JIT", "NUMBA_NUM_THREADS", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON",
    "PIP_DRY_RUN", "PIP_NO_DEPS", "PIP_REQUIREMENT", "PIP_EDITABLE", "PIP_CONSTRAINT", "PIP_REQUIRE_HASHES",
    "PIP_NO_BINARY", "PIP_NO_BUILD_ISOLATION", "PIP_PLATFORM", "PIP_PYTHON_VERSION", "PIP_IMPLEMENTATION", "PIP_ABI",
)  # fmt: skip


class Problem(Exception):
    """What is wrong and what to do about it, in one line."""


def say(text, stream=None):
    """Print a line at once, on a pipe too whose code page lacks a letter of it, or whose reader has gone."""
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or Python complains once more at its end


# ---- what can be wrong with the computer, each said in one line


def check_python(version=sys.version_info):
    found = "%d.%d" % tuple(version[:2])
    if tuple(version[:2]) < PYTHONS[0]:
        raise Problem(
            "Python %s is too old: install Python 3.11 or later (python.org, or your system's packages) "
            "and run this again with it." % found
        )
    if tuple(version[:2]) >= PYTHONS[1]:
        raise Problem(
            "Python %s is newer than the pinned packages support: run this with Python 3.11 to 3.%d."
            % (found, PYTHONS[1][1] - 1)
        )


def check_venv_module(find_spec=importlib.util.find_spec):
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        raise Problem(
            "This Python has no venv module: on Debian or Ubuntu run 'sudo apt install python3-venv', "
            "elsewhere install Python from python.org, then run this again."
        )


def check_disk(free_bytes, may_be_cuda=False):
    free = free_bytes / 1e9
    if free < DISK_GB:
        raise Problem(
            "The disk is too full: %.1f GB free in %s, %d GB needed. Free some space and run this again."
            % (free, ROOT, DISK_GB)
        )
    if may_be_cuda and free < DISK_GB_CUDA:
        say("Only %.1f GB free: enough for the CPU build of PyTorch, not for the CUDA build." % free)


def check_folder(folder=ROOT):
    if os.pathsep in str(folder):
        raise Problem(
            "The course lies in %s, and no environment can be made in a folder with %r in its name: rename the folder "
            "and run this again." % (folder, os.pathsep)
        )


def check_port(port, host="127.0.0.1"):
    if not str(port).isdecimal() or not 0 < int(port) < 65536:
        raise Problem("PORT=%s is not a port: give a number from 1024 to 65535, for example PORT=8889." % port)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name != "nt":  # there, this option would let two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            why = "needs more rights" if isinstance(error, PermissionError) else "is busy (another JupyterLab?)"
            other = int(port) + 1 if 1024 <= int(port) < 65535 else 8889
            raise Problem("Port %s %s: choose another one, for example PORT=%d." % (port, why, other)) from error


def explain_pip(output, log):
    """The one line for a failed pip run, from what it printed."""
    errors = [line for line in output.splitlines() if line.startswith("ERROR:") and "ResolutionImpossible" not in line]
    last = errors[-1][7:].strip() if errors else output.strip().split("\n")[-1]
    if re.search("No space left on device|not enough space on the disk|Disk quota exceeded", output):
        return "The disk filled up during the installation: free %d GB and run this again." % DISK_GB
    if "CERTIFICATE_VERIFY_FAILED" in output:
        return (
            "The certificate of the package index was refused: set the clock right, or name your network's "
            "certificates in PIP_CERT, and run this again; it goes on."
        )
    lost = "NewConnectionError|name resolution|Network is unreachable|ConnectTimeout|timed out|ProxyError"
    lost += "|Connection (reset|aborted|broken)|Remote end closed|IncompleteRead"
    if re.search(lost, output):
        return "The package index cannot be reached: check the network (or the proxy) and run this again; it goes on."
    return "pip failed: %s (more in %s). Mend that and run this again; it goes on." % (last, log)


# ---- the two environments


def python_of(venv):
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def venv_version(venv):
    """Version in pyvenv.cfg as (3, 11), or None where there is no usable environment."""
    try:
        text = (venv / "pyvenv.cfg").read_text(encoding="utf-8")
        match = re.search(r"^version(?:_info)?\s*=\s*(\d+)\.(\d+)", text, re.MULTILINE)
    except OSError:
        return None
    return tuple(int(part) for part in match.groups()) if match and python_of(venv).exists() else None


def fingerprint(venv):
    """What an installation depends on. Another one means: install again (pip does only what has changed)."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    digest.update(repr((venv_version(venv), str(ROOT), venv.name)).encode())
    return digest.hexdigest()


def is_set_up(venv):
    stamp = venv / STAMP
    complete = venv_version(venv) is not None and stamp.exists() and stamp.read_text() == fingerprint(venv)
    return complete and importable(venv, "course_lib")  # not where the system's Python became another one under it


def child_env(**more):
    """The environment of everything started from here."""
    env = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    env.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # two spinning torch processes starve each other
    env["PYTHONNOUSERSITE"] = "1"
    env["JUPYTER_PREFER_ENV_PATH"] = "1"  # a kernel of the same name that the user once installed is another Python
    if env.get("JUPYTER_PATH"):
        env["JUPYTER_PATH"] = os.pathsep.join([str(VENV / "share" / "jupyter"), env["JUPYTER_PATH"]])
    encoding, _, errors = env.get("PYTHONIOENCODING", "").partition(":")
    env["PYTHONIOENCODING"] = "%s:%s" % (encoding, errors or "replace")  # a letter that a pipe lacks stops nothing
    if not usable_home():
        env["HOME"] = substitute_home()
    env.update(more)
    return env


def usable_home():
    """Whether the user has a home folder to write to; in a container there may be none, nor a name for the user."""
    home = os.path.expanduser("~")  # where it is unknown, this stays "~"
    return os.name == "nt" or os.path.isabs(home) and os.access(home, os.W_OK | os.X_OK)


HOMES_MADE = []  # it lasts: a substitute is made and told of once


def substitute_home():
    made = HOMES_MADE
    if not made:
        try:
            (ROOT / "build" / "home").mkdir(parents=True, exist_ok=True)
            made.append(str(ROOT / "build" / "home"))
        except OSError:
            made.append(tempfile.mkdtemp())
        say("There is no home folder to write to (HOME is %r): %s takes its place." % (os.environ.get("HOME"), made[0]))
    return made[0]


def run(command, **more):
    return subprocess.call([str(part) for part in command], cwd=str(ROOT), env=child_env(**more))


def pip_install(venv, arguments):
    command = [str(python_of(venv)), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    command += ["-c", "constraints.txt"] + arguments
    log, lines = venv / "install.log", []
    # PIP_USER: a personal "user = true" in pip's settings must not send packages to the home folder.
    with subprocess.Popen(
        command, cwd=str(ROOT), env=child_env(PIP_USER="0", PYTHONUTF8="1", PYTHONIOENCODING="utf-8"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        for line in process.stdout:
            lines.append(line)
            big = re.match(r"\s*Downloading (\S+) \((\d{2,}\.\d MB|.* GB)\)", line)
            if big:
                say("  downloading %s (%s)" % (big.group(1).split("/")[-1], big.group(2)))
            if line.startswith("Installing collected packages:"):
                say("  installing %d packages" % len(line.split(",")))
    try:
        log.write_text("".join(lines), encoding="utf-8")
    except OSError:
        pass  # a full disk is reported below, from what pip said
    if process.returncode:
        raise Problem(explain_pip("".join(lines), log.relative_to(ROOT)))


def quiet_jupyterlab(prefix):
    """Default settings of the JupyterLab in `prefix`: no questions about news or updates. A user's own win."""
    settings = Path(prefix) / "share" / "jupyter" / "lab" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (settings / "overrides.json").write_text(json.dumps(quiet, indent=2) + "\n", encoding="utf-8")
    describe_pictures(prefix)


def describe_pictures(prefix):
    """Give the JupyterLab in `prefix` the extension that shows pictures with their alternative text."""
    for path in (ROOT / "pages" / "labextension").rglob("*.js*"):
        place = Path(prefix) / "share" / "jupyter" / "labextensions" / "course-pictures"
        place /= str(path.relative_to(ROOT / "pages" / "labextension"))
        if not place.exists() or place.read_bytes() != path.read_bytes():
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, path.read_text(encoding="utf-8"))


def may_be_cuda(environ=os.environ, system=None, machine=None):
    """Whether plain pip would take PyTorch's CUDA build here."""
    system, machine = system or platform.system(), machine or platform.machine()
    chosen = any(environ.get(name) for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_FIND_LINKS"))
    return system == "Linux" and machine == "x86_64" and not chosen


def set_up():
    """Make .venv complete. Costs nothing when it is; goes on where an interrupted installation stopped."""
    if is_set_up(VENV):
        return
    check_python()
    check_folder(ROOT)
    check_disk(shutil.disk_usage(str(ROOT)).free, may_be_cuda())
    with alone():
        if not is_set_up(VENV):
            make_environment()


@contextlib.contextmanager
def alone():
    """Two set-ups at once would install over each other: the second waits. The system frees the lock of a dead one."""
    try:
        import fcntl

        (ROOT / "build").mkdir(exist_ok=True)
        lock = open(str(ROOT / "build" / "set-up.lock"), "w")
    except (ImportError, OSError):  # another system, or a folder that cannot be written: what follows will say so
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another set-up is at work in this folder: waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            pass  # a disk that knows no locks
        yield


def make_environment():
    began = time.time()
    version = venv_version(VENV)
    usable = version is not None and PYTHONS[0] <= version < PYTHONS[1]
    if not (usable and importable(VENV, "pip")):
        check_venv_module()
        import venv

        say("Making the environment .venv with Python %d.%d" % sys.version_info[:2])
        try:
            venv.EnvBuilder(with_pip=True, clear=True, symlinks=os.name != "nt").create(str(VENV))
        except subprocess.CalledProcessError as error:  # pip would not unpack: a full disk, or half a Python
            raise Problem(explain_pip(str(error.output or error), "nothing more")) from error
    say("Installing the pinned packages in .venv: once, some minutes")
    if may_be_cuda():
        say("  (pip takes PyTorch with CUDA here, some gigabytes; README, 'The small PyTorch', tells how to avoid it)")
    pip_install(VENV, ["-e", "."])
    check_installed(VENV, "course_lib, numba, jupyterlab")
    quiet_jupyterlab(VENV)
    (VENV / STAMP).write_text(fingerprint(VENV))
    say("Ready after %s" % duration(time.time() - began))


def check_installed(venv, modules):
    """pip's own settings can let it succeed and yet install nothing here: a target folder, no dependencies."""
    if not importable(venv, modules):
        command = "%s -m pip config list" % python_of(venv).relative_to(ROOT)
        raise Problem(
            "pip says that all is installed, but 'import %s' fails in %s: look at pip's settings (%s), "
            "correct them and run this again." % (modules, venv.name, command)
        )


def set_up_tests():
    """Make .venv-test complete: the extras of tests and benchmarks in an environment of their own, laid over .venv.

    A .pth file lays it: so PyTorch is on the disk once, and nbgrader's menus stay out of the students' JupyterLab.
    """
    set_up()
    if is_set_up(VENV_TEST):
        return
    import tomllib

    say("Installing what the tests and the benchmarks need in .venv-test: once")
    if venv_version(VENV_TEST) != venv_version(VENV) or not importable(VENV_TEST, "pip"):
        if run([python_of(VENV), "-m", "venv", "--without-pip", "--clear", VENV_TEST]):
            raise Problem("The environment .venv-test cannot be made: remove .venv and .venv-test and run this again.")
        purelib = "import sysconfig; print(ascii(sysconfig.get_path('purelib')))"
        told = (subprocess.check_output([str(python_of(v)), "-c", purelib], env=child_env()) for v in (VENV, VENV_TEST))
        below, above = (ast.literal_eval(one.decode("ascii")) for one in told)
        # addsitedir and not the bare path: it also reads the .pth file of the editable course_lib. In ASCII: what else
        # a .pth file may hold depends on the system's settings.
        (Path(above) / "students_environment.pth").write_text("import site; site.addsitedir(%a)\n" % below)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    pip_install(VENV_TEST, extras["test"] + extras["bench"])
    (VENV_TEST / STAMP).write_text(fingerprint(VENV_TEST))


def importable(venv, module):
    try:
        command = [str(python_of(venv)), "-c", "import " + module]
        return subprocess.call(command, stderr=subprocess.DEVNULL, env=child_env()) == 0
    except OSError:
        return False


def duration(seconds):
    return "%d s" % round(seconds) if seconds < 90 else "%d min %02d s" % divmod(round(seconds), 60)


# ---- jobs for students


def has_browser(environ=os.environ, system=None):
    system = system or platform.system()
    if system == "Linux" and not any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def lab_command(port, extra="", browser=True, root_user=False):
    command = [str(python_of(VENV)), "-m", "jupyterlab", "--ServerApp.root_dir=" + str(ROOT)]
    command += ["--LabApp.default_url=/lab/tree/" + FIRST_PAGE, "--LabApp.news_url=None"]
    command += ["--ServerApp.port=%s" % port, "--ServerApp.port_retries=0", "--log-level=WARN"]
    command += ["--allow-root"] if root_user else []
    command += [] if browser else ["--no-browser"]
    try:
        return command + shlex.split(extra, posix=os.name != "nt")
    except ValueError as error:
        raise Problem("LAB_ARGS is %s, which cannot be split into arguments (%s)." % (extra.strip(), error)) from None


def lab(arguments, settings):
    port = settings.get("PORT") or "8888"
    check_port(port)
    set_up()
    with contextlib.suppress(OSError):  # installed once for a whole class, and nobody's own to write
        describe_pictures(VENV)
    browser = has_browser()
    extra = " ".join(arguments + [settings.get("LAB_ARGS") or ""])
    command = lab_command(port, extra, browser, root_user=hasattr(os, "geteuid") and os.geteuid() == 0)
    say("Starting JupyterLab; Control-C here stops it." + ("" if browser else " Open its address in a browser:"))
    os.chdir(str(ROOT))
    if os.name == "nt":
        return run(command)
    os.execve(command[0], command, child_env())


def lab_in(folder, name):
    """The whole name of the lab in `folder` that is called `name`: "lab04", or the whole name."""
    known = sorted(path.name for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))
    found = [one for one in known if one == name or one.startswith(name + "_")] if name else []
    if len(found) != 1:
        raise Problem("There is no lab %r: the labs are %s." % (name or "", ", ".join(known) or "not generated yet"))
    return found[0]


def start(name, exercises=ROOT / "exercises", work=ROOT / "work"):
    """Copy exercise `name` ("lab04" or the whole name) into work/ and return its folder.

    What is there stays as it is.
    """
    found = lab_in(exercises, name)
    target = work / found
    shown = target.relative_to(work.parent)
    make_work(work)
    with tempfile.TemporaryDirectory(dir=str(work)) as aside:  # a half copy never looks like a whole one
        try:
            if not target.exists():
                shutil.copytree(str(exercises / found), str(Path(aside) / found))
                make_writable(Path(aside) / found)
                os.rename(str(Path(aside) / found), str(target))  # refuses to replace a folder with work in it
                say("Copied to %s: open the notebook there." % shown)
                return target
        except OSError:
            if not target.exists():
                raise
    say(THERE_ALREADY % shown)
    return target


def start_lecture(name, lectures=ROOT / "notebooks", work=ROOT / "work"):
    """Copy lecture `name` ("05" or the whole name) without its outputs into work/ and return its path.

    So a reader who wants to be surprised sees nothing before running it. What is there stays as it is.
    """
    known = sorted(path.stem for path in lectures.glob("[0-9]*.ipynb"))
    found = [one for one in known if one == name or one.startswith(name + "_")]
    if len(found) != 1:
        raise Problem("There is no lecture %r: the lectures are %s." % (name, ", ".join(known)))
    target = work / (found[0] + ".ipynb")
    notebook = without_outputs(json.loads((lectures / target.name).read_text(encoding="utf-8")))
    make_work(work)
    with tempfile.TemporaryDirectory(dir=str(work)) as aside:  # a half copy never looks like a whole one
        whole = Path(aside) / target.name
        whole.write_bytes((json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode("utf-8"))
        try:
            os.link(str(whole), str(target))  # refuses to replace a file with work in it, as no rename does everywhere
        except FileExistsError:
            say(THERE_ALREADY % target.relative_to(work.parent))
            return target
        except OSError:  # a disk without links
            if target.exists():
                say(THERE_ALREADY % target.relative_to(work.parent))
                return target
            os.rename(str(whole), str(target))
    say("Copied without outputs to %s: open the notebook there." % target.relative_to(work.parent))
    return target


def without_outputs(notebook):
    """A lecture (a dict) as it was before it ran, with links that are right from another folder."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
        else:
            lines = cell["source"] if isinstance(cell["source"], list) else [cell["source"]]
            cell["source"] = [re.sub(r"\]\((\d\d_\w+\.ipynb)", r"](../notebooks/\1", line) for line in lines]
    return notebook


THERE_ALREADY = "%s is there already, and is left as it is. To begin again, rename it first."


def make_work(work):
    try:
        work.mkdir(exist_ok=True)
        check_writable(work)
    except OSError as error:
        raise Problem(
            "%s cannot be written (%s): copy the course's folder to a place of your own and work there."
            % (work, error.strerror)
        ) from None


def check_writable(folder):
    with tempfile.TemporaryFile(dir=str(folder)):
        pass


def make_writable(folder):
    """A copy of a course that lies read-only, for a whole class, is a student's own to write in."""
    for path in [folder] + list(folder.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def setup_job(arguments, settings):
    set_up()


def start_job(arguments, settings):
    name = arguments[0] if arguments else settings.get("LAB")
    lecture = settings.get("LECTURE") or (name if re.match(r"\d\d", name or "") else None)
    if lecture:
        start_lecture(lecture)
    if not lecture or name and name != lecture:
        start(name)


def clean_cache(arguments, settings):
    set_up()
    forget = "import course_lib as cl; print('%d trained models forgotten' % cl.nets.clear_cache())"
    return run([python_of(VENV), "-c", forget])


# ---- jobs for teachers and developers


def notebooks(arguments):
    paths = [ROOT / one for one in arguments] or sorted(ROOT.glob("notebooks/*.ipynb")) + sorted(
        ROOT.glob("solutions/*/*.ipynb")
    )
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise Problem("There is no notebook %s: give paths like notebooks/00_start_here.ipynb." % ", ".join(missing))
    return paths


def tidy(notebook):
    """Drop from a notebook (a dict) what differs from run to run and says nothing: widget state, versions, times."""
    notebook["metadata"].pop("widgets", None)
    notebook["metadata"]["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook["metadata"]["language_info"] = {"name": "python"}
    for cell in notebook["cells"]:
        cell["metadata"].pop("execution", None)
        fold(cell)
        kept = []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            # Without a kernel a live widget is an error message; its picture beside it is not.
            if data.pop("application/vnd.jupyter.widget-view+json", None) and set(data) <= {"text/plain"}:
                continue
            kept.append(output)
        if "outputs" in cell:
            cell["outputs"] = kept
    return notebook


def join_streams(notebook):
    """Make one output of what a cell printed in several pieces: how many there were is chance, and says nothing."""
    for cell in notebook["cells"]:
        joined = []
        for output in cell.get("outputs", []):
            last = joined[-1] if joined else {}
            if output["output_type"] == "stream" and output["name"] == last.get("name"):
                last["text"] = "".join(["".join(last["text"]), "".join(output["text"])]).splitlines(True)
            else:
                joined.append(output)
        if "outputs" in cell:
            cell["outputs"] = joined
    return notebook


def fold(cell):
    """The tag hide-input decides what JupyterLab shows folded."""
    if cell["cell_type"] != "code":
        return
    jupyter = cell["metadata"].setdefault("jupyter", {})
    jupyter.pop("source_hidden", None)
    if "hide-input" in cell["metadata"].get("tags", []):
        jupyter["source_hidden"] = True
    if not jupyter:
        del cell["metadata"]["jupyter"]


def execute(arguments, settings):
    set_up()
    paths = notebooks(arguments)
    convert = [python_of(VENV), "-m", "nbconvert", "--to=notebook", "--execute", "--log-level=WARN"]
    convert += ["--ExecutePreprocessor.store_widget_state=False", "--ExecutePreprocessor.record_timing=False"]
    convert += ["--ExecutePreprocessor.timeout=%d" % CELL_TIMEOUT_S]
    for path in paths:
        began = time.time()
        with tempfile.TemporaryDirectory() as aside:
            result = Path(aside) / path.name
            # away from the user's own settings: what IPython does at its start would come onto the page
            failed = run(convert + [glob.escape(str(path)), "--output-dir=" + aside], **jupyter_env(aside))
            if failed or not result.exists():
                raise Problem("%s did not run to its end; it is left as it was." % path.relative_to(ROOT))
            notebook = join_streams(tidy(json.loads(result.read_text(encoding="utf-8"))))
        text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        write_whole(path, text)
        say("%s: %s" % (path.relative_to(ROOT), duration(time.time() - began)))


def write_whole(path, text):
    """Write aside and rename: a disk that fills up leaves the old file."""
    aside = path.with_name("." + path.name + ".part")
    try:
        aside.write_bytes(text.encode("utf-8"))
        os.replace(str(aside), str(path))
    finally:
        if aside.exists():
            aside.unlink()


def slides(arguments, settings):
    if arguments[:1] == ["--check"]:
        set_up_tests()
        return run([python_of(VENV_TEST), ROOT / "pages" / "measure.py"] + arguments[1:])
    return export("slides", arguments)


def html(arguments, settings):
    return export("html", arguments)


def export(kind, arguments):
    """The whole of it is in pages/, which needs nbconvert and, for decks, what npm brings."""
    set_up()
    lectures = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("notebooks/*.ipynb"))]
    with tempfile.TemporaryDirectory() as aside:
        command = [python_of(VENV), ROOT / "pages" / "export.py", kind, ROOT / "build" / kind]
        return run(command + notebooks(arguments or lectures), **jupyter_env(aside))


def bench(arguments, settings):
    set_up_tests()
    return run([python_of(VENV_TEST), ROOT / "benchmarks" / "bench.py"] + arguments)


def exercises(arguments, settings):
    """exercises/ from solutions/: made aside by nbgrader, without a grade book, then put in place of the old ones."""
    set_up_tests()
    target = Path(settings.get("TARGET") or ROOT / "exercises")
    with tempfile.TemporaryDirectory() as aside:
        shutil.copy(str(ROOT / "nbgrader_config.py"), aside)
        ignore = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
        shutil.copytree(str(ROOT / "solutions"), str(Path(aside) / "solutions"), ignore=ignore)
        for lab_folder in sorted((Path(aside) / "solutions").glob("lab*")):
            command = [str(python_of(VENV_TEST)), "-m", "nbgrader", "generate_assignment", lab_folder.name]
            command += ["--force", "--no-db", "--log-level=WARN"]
            if subprocess.call(command, cwd=aside, env=child_env(**jupyter_env(aside))):
                raise Problem("nbgrader refused solutions/%s: mend what it says above." % lab_folder.name)
            made = Path(aside) / "exercises" / lab_folder.name
            replace_folder(made, target / lab_folder.name)
            say("%s/%s" % (target.name, lab_folder.name))


def nets(arguments, settings):
    """The networks that come with the library: what is missing is trained, what no recipe asks for is removed."""
    set_up()
    return run([python_of(VENV), "-m", "course_lib.shipping"])


def replace_folder(made, target):
    """Copy aside, then rename: a disk that fills up leaves the old folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=str(target.parent), prefix=".") as aside:
        shutil.copytree(str(made), str(Path(aside) / "new"))
        if target.exists():
            os.rename(str(target), str(Path(aside) / "old"))
        os.rename(str(Path(aside) / "new"), str(target))


def jupyter_env(aside):
    """Jupyter away from the user's own settings, and finding the students' kernel and templates from .venv-test."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    env = {name: str(Path(aside) / name.lower()) for name in names}
    env["JUPYTER_PATH"] = str(VENV / "share" / "jupyter")
    return env


def teachers_env(aside):
    """As jupyter_env; and on PATH what nbgrader calls."""
    path = os.pathsep.join([str(python_of(VENV_TEST).parent), os.environ.get("PATH", "")])
    return dict(jupyter_env(aside), PATH=path)


def grade(arguments, settings):
    """The whole of it is in teaching/, which needs nbgrader; LIMIT is seconds a cell, arguments are students' names."""
    name = lab_in(ROOT / "solutions", settings.get("LAB"))
    limit = settings.get("LIMIT") or "1"
    if not limit.isdecimal() or int(limit) < 1:
        raise Problem("LIMIT=%s is no time: give the seconds that a cell may take, for example LIMIT=300." % limit)
    folder = Path(settings.get("SUBMISSIONS") or ROOT / "submitted").expanduser().absolute()
    set_up_tests()
    with tempfile.TemporaryDirectory() as aside:
        command = [python_of(VENV_TEST), ROOT / "teaching" / "grade.py", name, folder]
        command += ["--limit=" + settings["LIMIT"]] if settings.get("LIMIT") else []
        command = [str(part) for part in command + arguments]
        process = subprocess.Popen(command, cwd=str(ROOT), env=child_env(**teachers_env(aside)))
        try:
            return process.wait()
        except KeyboardInterrupt:  # it has had the same Control-C, and ends what it started
            process.wait()
            raise


def formgrader_command(port, browser=True, root_user=False):
    extension = "nbgrader.server_extensions.formgrader"
    command = [str(python_of(VENV_TEST)), "-m", "jupyter_server", "--ServerApp.root_dir=" + str(GRADING)]
    command += ["--ServerApp.jpserver_extensions=%s=True" % extension, "--ServerApp.default_url=/formgrader/gradebook"]
    command += ["--ServerApp.port=%s" % port, "--ServerApp.port_retries=0", "--log-level=WARN"]
    command += ["--allow-root"] if root_user else []
    return command + ([] if browser else ["--no-browser"])


def formgrader(arguments, settings):
    port = settings.get("PORT") or "8888"
    check_port(port)
    if not (GRADING / "gradebook.db").exists():
        raise Problem("Nothing has been graded yet: 'python course.py grade LAB=lab01' comes first.")
    set_up_tests()
    browser = has_browser()
    command = formgrader_command(port, browser, root_user=hasattr(os, "geteuid") and os.geteuid() == 0) + arguments
    say("Starting nbgrader's form; Control-C here stops it." + ("" if browser else " Open its address in a browser:"))
    env = child_env(**teachers_env(GRADING / "jupyter"))
    if os.name == "nt":
        return subprocess.call(command, cwd=str(GRADING), env=env)
    os.chdir(str(GRADING))
    os.execve(command[0], command, env)


def test(arguments, settings):
    set_up_tests()
    return run([python_of(VENV_TEST), ROOT / "tests" / "run.py"] + arguments)


def check(arguments, settings):
    set_up_tests()
    linted = run([python_of(VENV_TEST), "-m", "ruff", "check", "."])
    return run([python_of(VENV_TEST), ROOT / "tests" / "run.py", "fast"] + arguments) or linted


def fuzz(arguments, settings):
    minutes = settings.get("MINUTES") or "5"
    if not re.match(r"\d*\.?\d+$", minutes) or not float(minutes):
        raise Problem("MINUTES=%s is no time: give the minutes that fuzzing may take, for example MINUTES=5." % minutes)
    set_up_tests()
    return run([python_of(VENV_TEST), ROOT / "tests" / "run.py", "fuzz", minutes] + arguments)


JOBS = {
    "lab": lab, "start": start_job, "test": test, "check": check, "fuzz": fuzz, "bench": bench, "execute": execute,
    "exercises": exercises, "nets": nets, "grade": grade, "formgrader": formgrader, "slides": slides, "html": html,
    "clean-cache": clean_cache, "setup": setup_job,
}  # fmt: skip


SETTINGS = ("PORT", "LAB_ARGS", "LAB", "LECTURE", "TARGET", "SUBMISSIONS", "LIMIT", "MINUTES")


def usage():
    if __doc__:
        return __doc__.strip()
    # python -OO takes the text out of the module, not out of the file
    return ast.get_docstring(ast.parse(Path(__file__).read_text(encoding="utf-8"))).strip()


def main(argv):
    settings = {name: os.environ.get(name) for name in SETTINGS}
    arguments = []
    for one in argv:
        match = re.match(r"(%s)=(.*)" % "|".join(SETTINGS), one)
        if match:
            settings[match.group(1)] = match.group(2)
        else:
            arguments.append(one)
    try:
        if not arguments or arguments[0] in ("help", "-h", "--help"):
            say(usage())
            return 0
        if arguments[0] not in JOBS:
            raise Problem("There is no job %r: the jobs are %s." % (arguments[0], ", ".join(JOBS)))
        check_python()
        return JOBS[arguments[0]](arguments[1:], settings) or 0
    except Problem as problem:
        say("course.py: %s" % problem, sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        what = "%s (%s)" % (error.strerror, error.filename)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
            what += ": make room or give yourself the right to use that"
        say("course.py: %s." % what, sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncourse.py: stopped; the same command goes on where it was.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
