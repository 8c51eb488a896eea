"""JupyterLab as a student finds it, and the lectures run in it from top to bottom."""

from pathlib import Path

import course
import pytest

LECTURES = sorted((Path(course.__file__).parent / "notebooks").glob("*.ipynb"))


def test_opens_without_a_question_and_without_the_graders_tools(lab):
    page = lab.page()
    page.get_by_role("menuitem", name="File", exact=True).wait_for()
    page.wait_for_timeout(3000)  # a notification would come late
    assert page.locator(".jp-toastContainer .Toastify__toast, .jp-Dialog").count() == 0
    assert page.get_by_role("menuitem", name="Nbgrader").count() == 0
    assert page.locator("[data-id*=nbgrader], [title*=nbgrader i], [id*=nbgrader]").count() == 0
    page.close()


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_a_lecture_runs_to_its_end(lab, path):
    lab.run(path).close()
