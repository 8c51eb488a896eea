"""JupyterLab as a student finds it. (That every lecture runs is tested without a browser; here, that a page does.)"""

from pathlib import Path

import course

FIRST_PAGE = Path(course.__file__).parent / course.FIRST_PAGE


def test_opens_without_a_question_and_without_the_graders_tools(lab):
    page = lab.page()
    page.get_by_role("menuitem", name="File", exact=True).wait_for()
    page.wait_for_timeout(3000)  # a notification would come late
    assert page.locator(".jp-toastContainer .Toastify__toast, .jp-Dialog").count() == 0
    assert page.get_by_role("menuitem", name="Nbgrader").count() == 0
    assert page.locator("[data-id*=nbgrader], [title*=nbgrader i], [id*=nbgrader]").count() == 0
    page.close()


def test_the_first_page_runs_to_its_end(lab):
    page = lab.run(FIRST_PAGE)
    page.get_by_text("Everything is ready.").first.wait_for()
    page.close()
