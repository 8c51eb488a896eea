"""Grade one student, in this process and its kernel alone.   python teaching/grade_one.py COURSE LAB STUDENT ...

``grade`` starts it. It ends, and its kernel with it, when the one who started it is gone: its input closes then.
"""

import argparse
import json
import logging
import os
import sys
import threading
from pathlib import Path

import nbformat
import psutil
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import CheckCellMetadata, LimitOutput, NbGraderPreprocessor, SaveAutoGrades
from nbgrader.utils import determine_grade
from sqlalchemy.engine import URL
from tqdm import tqdm
from traitlets import Float, List
from traitlets.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from teaching import execution  # noqa: E402

LOCK_WAIT_S = 60  # several students are graded at once, into one data base


class Run(NbGraderPreprocessor):
    """In place of nbgrader's own Execute, which gives up a notebook whose kernel dies."""

    cell_limit = Float(execution.CELL_LIMIT_S).tag(config=True)
    stopped = List()

    def preprocess(self, nb, resources):
        folder = resources["metadata"]["path"]
        Run.stopped = execution.run(nb, folder, cell_limit=self.cell_limit)
        return nb, resources


class HarmlessStderr(NbGraderPreprocessor):
    """A progress bar, a warning or a log line is no failure: nbgrader gives nothing for a cell with stderr."""

    def preprocess_cell(self, cell, resources, cell_index):
        return without_stderr(cell), resources


def without_stderr(cell):
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            output.name = "stdout"
    return cell


def course_directory(course):
    """nbgrader's settings for the folder ``course``."""
    config = Config()
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.course_id = "neural-network-compression"
    book, settings = (Path(course) / "gradebook.db").as_posix(), {"timeout": str(LOCK_WAIT_S)}
    address = URL.create("sqlite", database=book, query=settings)  # which quotes what means something in an address
    config.CourseDirectory.db_url = address.render_as_string()
    return config


def convert(converter, course, lab, student, **settings):
    """Run one of nbgrader's converters for one student, whatever it did for him before."""
    config = course_directory(course)
    for name, value in settings.items():
        config[name].merge(value)
    directory = CourseDirectory(config=config)
    directory.assignment_id, directory.student_id = lab, student
    made = converter(coursedir=directory, config=config)
    made.force = True
    made.start()


def autograde(course, lab, student, cell_limit):
    convert(
        Autograde, course, lab, student, Run={"cell_limit": cell_limit},
        Autograde={"autograde_preprocessors": [Run, HarmlessStderr, LimitOutput, SaveAutoGrades, CheckCellMetadata]},
    )  # fmt: skip
    return {"stopped": Run.stopped}


def feedback(course, lab, student):
    convert(GenerateFeedback, course, lab, student, HTMLExporter={"template_name": "feedback"})


def try_solution(path, folder, cell_limit):
    """What the lab's own solution earns here, cell by cell; it also trains what students' cells will ask for."""
    notebook = nbformat.read(path, as_version=4)
    with tqdm(total=len(notebook.cells), desc="the lab's own solution", unit="cell", leave=False) as bar:
        on_cell = lambda index: bar.update(index - bar.n)  # noqa: E731
        stopped = execution.run(notebook, folder, cell_limit=cell_limit, on_cell=on_cell)
    lost = {}
    for cell in notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and marks.get("grade"):
            points, most = determine_grade(without_stderr(cell))
            lost.update({marks["grade_id"]: most - points} if points < most else {})
    return {"stopped": stopped, "lost": lost}


def leave_with_parent():
    """End this process and all it started when our input closes."""

    def watch():
        while os.read(0, 1):  # not sys.stdin: a thread that waits in it breaks the end of the interpreter
            pass
        for child in psutil.Process().children(recursive=True):
            try:
                child.kill()
            except psutil.NoSuchProcess:
                pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def limit_memory(size):
    """Let a cell that asks for more than ``size`` bytes fail by itself, where the system can (Linux)."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    except (ImportError, OSError, ValueError):
        pass


def main(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["grade", "feedback", "solution"])
    parser.add_argument("course", type=Path)
    parser.add_argument("lab")
    parser.add_argument("student")
    parser.add_argument("answer", type=Path, help="the file for the answer, as JSON")
    parser.add_argument("--limit", type=float, default=execution.CELL_LIMIT_S)
    parser.add_argument("--memory", type=int, default=0)
    options = parser.parse_args(argv)
    leave_with_parent()
    if options.memory:
        limit_memory(options.memory)
    logging.captureWarnings(True)
    if options.what == "solution":
        source = options.course / "source" / options.lab / f"{options.lab}.ipynb"
        answer = try_solution(source, options.answer.parent, options.limit)
    else:
        answer = {}
        if options.what == "grade":
            answer = autograde(options.course, options.lab, options.student, options.limit)
        feedback(options.course, options.lab, options.student)
    options.answer.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
