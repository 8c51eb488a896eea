"""Grade a folder of handed-in notebooks.   python course.py grade LAB=lab01 [SUBMISSIONS=folder]

Everything is written below grading/: source/, release/ and submitted/ for nbgrader, gradebook.db, autograded/,
feedback/ (a page for each student), grades/ (a table for each lab), results/ (what is known of each student), logs/.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import psutil
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import GenerateAssignment

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from course import GRADING, VENV, Problem, child_env, jupyter_env, python_of, say  # noqa: E402
from course_lib.data import written_aside  # noqa: E402
from teaching import execution, grade_one, submissions  # noqa: E402

AT_ONCE = max(1, min(4, os.cpu_count() or 1))
SHARE_OF_MEMORY = 0.75  # that all notebooks together may take
LEAST_MEMORY = 3 * 2**30  # that each may take all the same
SOLUTION_LIMIT_S = 1800  # the first notebook to run, so the one that waits for the compiler and for training
AROUND_S = 120  # to start a kernel and to write feedback, beyond what the cells may take
SETTINGS = """\
# For nbgrader's form and its commands in this folder; written by course.py grade.
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "neural-network-compression"
c.Exchange.root = {exchange!r}  # not used here; without one every page of the form complains
"""
# A student's cell that installs or removes packages would do it for everybody: pip finds no Python to work on.
NO_PIP = {"PIP_PYTHON": "none-while-grading", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_OFFLINE": "1"}


class Course:
    """The folder in which one lab is graded, and what lies where."""

    def __init__(self, folder, lab):
        self.folder, self.lab = folder, lab
        self.solution = ROOT / "solutions" / lab / f"{lab}.ipynb"
        self.source, self.released = (folder / step / lab / f"{lab}.ipynb" for step in ("source", "release"))
        self.results, self.logs = folder / "results" / lab, folder / "logs" / lab
        self.table = folder / "grades" / f"{lab}.csv"
        self.running, self.lock = set(), threading.Lock()
        self.checks = hashlib.sha256()  # what decides a grade beside the notebook: hidden tests, and the library
        for path in [self.solution, *sorted((ROOT / "course_lib").rglob("*.py"))]:
            self.checks.update(path.read_bytes())

    def handed_in(self, student):
        return self.folder / "submitted" / student / self.lab / f"{self.lab}.ipynb"

    def gradebook(self):
        settings = grade_one.course_directory(self.folder).CourseDirectory
        return Gradebook(settings.db_url, settings.course_id)


# --------------------------------------------------------------------------------------------- files, aside and renamed


def write(path, content):
    with written_aside(path) as aside:
        aside.write_bytes(content)


def kept(course, student):
    """What is known of a student from an earlier run: a dict; empty where nothing is."""
    try:
        return json.loads((course.results / f"{student}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def keep(course, student, result):
    write(course.results / f"{student}.json", json.dumps(result, indent=1, ensure_ascii=False).encode())


def fingerprint(course, student):
    digest = course.checks.copy()
    digest.update(course.handed_in(student).read_bytes())
    return digest.hexdigest()


# --------------------------------------------------------------------------------------------------- before anyone


def prepare(course):
    """The lab in the grade book, and its exercise, as they stand in solutions/ now."""
    exchange = course.folder / "exchange"
    exchange.mkdir(exist_ok=True)
    write(course.folder / "nbgrader_config.py", SETTINGS.format(exchange=str(exchange)).encode())
    solution = course.solution.read_bytes()
    try:
        with course.gradebook() as book:
            book.find_assignment(course.lab)
        if course.released.exists() and course.source.read_bytes() == solution:
            return
    except (MissingEntry, OSError):
        pass
    write(course.source, solution)
    try:
        grade_one.convert(GenerateAssignment, course.folder, course.lab, ".")
    except Exception as error:
        course.source.unlink(missing_ok=True)
        raise Problem(
            f"nbgrader refused solutions/{course.lab} ({error}). If tasks came or went since the lab was first graded, "
            f"rename {shown(course.folder)} and begin anew."
        ) from error


def collect(course, folder):
    """Put what was handed in where nbgrader looks for it. ({student: notes}, {student: why not}, remarks)"""
    released = nbformat.read(course.released, as_version=4)
    lab_ids = {
        path.parent.name: set(submissions.graded_cells(nbformat.read(path, as_version=4).cells))
        for path in ROOT.glob("solutions/*/*.ipynb")
    }
    found, remarks = submissions.find(folder, course.lab, lab_ids)
    notes, refused = {}, {}
    for one in found:
        try:
            notebook, mended = submissions.mend(submissions.read(one.path), released)
            write(course.handed_in(one.student), nbformat.writes(notebook).encode())
        except Exception as error:  # whatever is strange in it, the others have a right to their grades
            why = str(error) if isinstance(error, submissions.Unreadable) else f"{type(error).__name__}: {error}"
            refused[one.student] = "; ".join([*one.notes, why])
            continue
        notes[one.student] = one.notes + mended
        when = handed_in_at(one.path).strftime("%Y-%m-%d %H:%M:%S %Z")
        write(course.handed_in(one.student).with_name("timestamp.txt"), when.encode())
    return notes, refused, remarks


def handed_in_at(path):
    """nbgrader's timestamp.txt where there is one, else the time of the file."""
    try:
        text = path.with_name("timestamp.txt").read_text(encoding="utf-8").strip().removesuffix(" UTC")
        when = datetime.fromisoformat(text)
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (OSError, ValueError, OverflowError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


# ------------------------------------------------------------------------------------- one student, in his own process


def start(course, what, student, limit, terminal=False):
    """Run grade_one for one student; its answer, a dict. Raises Problem with the reason where there is none."""
    command = [sys.executable, str(ROOT / "teaching" / "grade_one.py"), what, str(course.folder), course.lab, student]
    log = course.logs / f"{student or f'_{what}'}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # Settings of Jupyter and IPython of their own: what one student leaves there does not reach the next.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as aside, open(log, "wb") as log_file:
        answer = Path(aside) / "answer.json"
        env = child_env(**jupyter_env(aside), **NO_PIP)
        env["PYTHONPATH"] = str(ROOT)
        memory = max(LEAST_MEMORY, int(SHARE_OF_MEMORY * psutil.virtual_memory().total / AT_ONCE))
        env["JUPYTER_PATH"] = os.pathsep.join([students_kernel(aside), env["JUPYTER_PATH"]])
        with course.lock:
            if course.running is None:
                raise Problem("stopped")
            process = subprocess.Popen(
                [*command, str(answer), f"--limit={limit}", f"--memory={memory}"], cwd=course.folder, env=env,
                stdin=subprocess.PIPE, stdout=log_file, stderr=None if terminal else log_file, start_new_session=True,
            )  # fmt: skip
            course.running.add(process)
        try:
            cells_s = execution.CELLS_AT_THEIR_LIMIT * limit
            process.wait(None if terminal else cells_s + execution.START_LIMIT_S + AROUND_S)
        except subprocess.TimeoutExpired:
            raise Problem("took too long, and was ended") from None
        finally:
            end(process)
            with course.lock:
                if course.running is not None:
                    course.running.discard(process)
        try:
            return json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            why = lines[-1] if lines else f"exit code {process.returncode}"
            raise Problem(f"{why} (more in {shown(log)})") from None


def end(process):
    """End a process and all that it started."""
    try:
        everyone = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    except psutil.NoSuchProcess:
        everyone = []
    for one in [process, *everyone]:
        try:
            one.kill()
        except (psutil.NoSuchProcess, OSError):
            pass
    process.stdin.close()
    process.wait()


def end_all(course):
    with course.lock:
        running, course.running = course.running or set(), None
    for process in running:
        end(process)


def students_kernel(aside):
    """A folder for JUPYTER_PATH, with the kernel of the students' own environment where there is one."""
    python = python_of(VENV) if python_of(VENV).exists() else sys.executable
    spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python 3", "language": "python"}  # fmt: skip
    folder = Path(aside) / "students"
    write(folder / "kernels" / "python3" / "kernel.json", json.dumps(spec).encode())
    return str(folder)


# ------------------------------------------------------------------------------------------------------ the grade book


def standing(course, student):
    """[{name, points, most, extra, waits, comment}] of a student's graded cells, in the order of the lab."""
    with course.gradebook() as book:
        notebook = book.find_submission_notebook(course.lab, course.lab, student)
        released = nbformat.read(course.released, as_version=4)
        order = {name: at for at, name in enumerate(submissions.graded_cells(released.cells))}
        comments = {one.name: one.comment for one in notebook.comments}
        found = [
            {"name": one.name.removeprefix("check_"), "points": one.score, "most": one.max_score,
             "extra": one.extra_credit, "waits": bool(one.needs_manual_grade), "comment": comments.get(one.name)}
            for one in sorted(notebook.grades, key=lambda grade: order.get(grade.name, len(order)))
        ]  # fmt: skip
        when = notebook.assignment.timestamp
    return found, when.isoformat(" ", "seconds") if when else ""


def is_current(course, student, limit):
    """Whether the grade of an earlier run still holds."""
    earlier = kept(course, student)
    if earlier.get("fingerprint") != fingerprint(course, student) or earlier.get("limit", limit) < limit:
        return False
    try:
        standing(course, student)
    except MissingEntry:
        return False
    return (course.folder / "autograded" / student / course.lab / f"{course.lab}.ipynb").exists()


def grade_student(course, student, notes, limit):
    """Grade, write feedback, keep the result."""
    result = {"fingerprint": fingerprint(course, student)}
    (course.results / f"{student}.json").unlink(missing_ok=True)  # a run that ends here is no result
    stopped = start(course, "grade", student, limit)["stopped"]
    cells, when = standing(course, student)
    result |= {"cells": cells, "when": when, "notes": notes + stopped}
    if stopped:
        result["limit"] = limit  # with more time it may come out better
    keep(course, student, result)


def refresh(course, student, limit):
    """The grade stands; feedback once more where a teacher has graded by hand since."""
    result = kept(course, student)
    try:
        cells, when = standing(course, student)
    except MissingEntry:
        raise Problem("no longer in the grade book") from None
    if (cells, when) != (result["cells"], result["when"]):
        start(course, "feedback", student, limit)
        keep(course, student, {**result, "cells": cells, "when": when})


# ------------------------------------------------------------------------------------------------------ what is shown


def shown(path):
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def number(points):
    return f"{points:g}"


def total(cells):
    return sum(one["points"] + (one["extra"] or 0) for one in cells), sum(one["most"] for one in cells)


def line(student, result, width):
    points, most = total(result["cells"])
    parts = [f"{number(points)} of {number(most)}"]
    waiting = [f"{one['name']} ({number(one['most'])})" for one in result["cells"] if one["waits"]]
    lost = [one["name"] for one in result["cells"] if one["points"] < one["most"] and not one["waits"]]
    parts += [f"to grade by hand: {', '.join(waiting)}"] if waiting else []
    parts += [f"points lost in {', '.join(lost)}"] if lost else []
    return f"  {student:{width}}  {'; '.join(parts + result['notes'])}"


def write_table(course, failed):
    """grades/LAB.csv: a line for everyone ever graded here, and for those who could not be."""
    with course.gradebook() as book:
        most = {grade.name.removeprefix("check_"): grade.max_score
                for grade in book.find_notebook(course.lab, course.lab).grade_cells}  # fmt: skip
    order = [name.removeprefix("check_") for name in submissions.graded_cells(nbformat.read(course.released, 4).cells)]
    tasks = list(dict.fromkeys(name for name in order if name in most))
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["student", *tasks, "total", "maximum", "waits_for_you", "handed_in_utc", "notes"])
    known = {path.stem: kept(course, path.stem) for path in course.results.glob("*.json")}
    for student in sorted({*known, *failed}):
        if student in failed:  # empty, not zero: nobody has looked at it
            why = f"not graded: {failed[student]}"
            table.writerow([student, *[""] * len(tasks), "", number(sum(most.values())), "", "", why])
            continue
        cells = {one["name"]: one for one in known[student]["cells"]}
        points = [number(total([cells[name]])[0]) if name in cells else "" for name in tasks]
        waiting = " ".join(name for name, one in cells.items() if one["waits"])
        in_all, of = total(known[student]["cells"])
        table.writerow([student, *points, number(in_all), number(of), waiting, known[student]["when"],
                        "; ".join(known[student]["notes"])])  # fmt: skip
    write(course.table, text.getvalue().encode("utf-8-sig"))  # with the mark by which spreadsheets know UTF-8


# ------------------------------------------------------------------------------------------------------------- the job


def grade(course, folder, limit, again=()):
    """Grade everyone whose grade does not stand yet; {student: why not} of those who could not be graded."""
    prepare(course)
    notes, failed, remarks = collect(course, folder)
    say(f"{course.lab}: {len(notes) + len(failed)} submissions in {shown(folder)}")
    for remark in remarks:
        say(f"  {remark}")
    if not notes and not failed:
        raise Problem(
            f"Nothing to grade in {shown(folder)}: it should hold <student>/{course.lab}/{course.lab}.ipynb, "
            "<student>/<any name>.ipynb or <student>.ipynb."
        )
    if strangers := set(again) - notes.keys():
        raise Problem(f"Nothing to grade again from {', '.join(sorted(strangers))}: write names as the table does.")
    earlier = {path.stem for path in course.results.glob("*.json")} - failed.keys()
    width = max(map(len, [*notes, *failed, *earlier]))
    for student, why in failed.items():
        say(f"  {student:{width}}  not graded: {why}")
    todo = {one for one in notes if one in again or not is_current(course, one, limit)}
    if todo:
        check_solution(course)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {pool.submit(refresh, course, one, limit): one for one in sorted(earlier - todo)}
        jobs |= {pool.submit(grade_student, course, one, notes[one], limit): one for one in sorted(todo)}
        try:
            for job in as_completed(jobs):
                student = jobs[job]
                try:
                    job.result()
                    say(line(student, kept(course, student), width) + ("" if student in todo else " (as before)"))
                except Exception as error:  # whatever it was, the others have a right to their grades
                    failed[student] = f"{error}" if isinstance(error, Problem) else f"{type(error).__name__}: {error}"
                    say(f"  {student:{width}}  not graded: {failed[student]}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            end_all(course)
            raise
    write_table(course, failed)
    return failed


def check_solution(course):
    """Nobody is graded by an installation that would not give the lab's own solution everything."""
    answer = start(course, "solution", "", SOLUTION_LIMIT_S, terminal=True)
    if answer["lost"]:
        raise Problem(
            f"The lab's own solution loses points here, in {', '.join(answer['lost'])}: nobody was graded. "
            f"{'; '.join(answer['stopped'])} Run solutions/{course.lab} by hand and mend that first."
        )


def main(argv):
    parser = argparse.ArgumentParser(prog="course.py grade", description=__doc__.splitlines()[0])
    parser.add_argument("lab")
    parser.add_argument("submissions", type=Path)
    parser.add_argument("again", nargs="*", help="students whose grades are made again though nothing changed")
    parser.add_argument("--limit", type=float, default=execution.CELL_LIMIT_S, help="seconds a cell")
    parser.add_argument("--folder", type=Path, default=GRADING)
    options = parser.parse_intermixed_args(argv)
    try:
        if not options.submissions.is_dir():
            raise Problem(
                f"There is no folder {options.submissions}: put what was handed in there (a zip file unpacked), "
                "or say where it is with SUBMISSIONS=folder."
            )
        if any(sign in str(options.folder) for sign in "*?["):
            raise Problem(f"nbgrader cannot work in {options.folder}: *, ? and [ mean something else to it. Rename it.")
        options.folder.mkdir(parents=True, exist_ok=True)
        course = Course(options.folder.resolve(), options.lab)
        grade(course, options.submissions.resolve(), options.limit, options.again)
    except Problem as problem:
        print(f"course.py: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    say(f"Table: {shown(course.table)}   pages for the students: {shown(course.folder / 'feedback')}")
    say("Conclusions are graded by hand: python course.py formgrader; then this once more, for table and pages.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
